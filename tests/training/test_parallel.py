"""Two real processes of torchrun: the losses, the metrics and the lists of one."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from sensorium.core.errors import TrainingError
from sensorium.core.processes import Processes, Slice, computing
from sensorium.data.batches import PairBatches, Step
from sensorium.nn.losses import embedding_norm, norm_of_squares
from sensorium.testing import tiny_view
from sensorium.training.parallel import average_gradients, count_rows, take_slice

PROGRAM = Path(__file__).parent / "together.py"
MODELS = (
    "contrastive",
    "bpr",
    "lightgcn",
    "vbpr",
    "selfcf",
    "bm3",
    "freedom",
    "lattice",
    "mgcn",
    "smore",
    "dragon",
    "lgmrec",
)
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def outcomes(folder: Path) -> dict[str, dict[str, Any]]:
    return {model: json.loads((folder / f"{model}.json").read_text()) for model in MODELS}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """What this process leaves alone, and what two processes of torchrun leave."""
    alone, together = tmp_path_factory.mktemp("alone"), tmp_path_factory.mktemp("together")
    runpy.run_path(str(PROGRAM))["work"](alone)
    command = [*TORCHRUN, str(PROGRAM), str(together)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return outcomes(alone), outcomes(together)


@pytest.mark.parametrize("model", MODELS)
def test_two_processes_have_the_losses_of_one(both: tuple[dict[str, Any], dict[str, Any]], model: str) -> None:
    """Uneven slices and an uneven last batch; a norm of the batch and a softmax over it among the terms."""
    alone, together = (outcome[model]["losses"] for outcome in both)
    assert len(alone) == 3
    for one, two in zip(alone, together, strict=True):
        assert one == pytest.approx(two, abs=1e-5)
    assert alone[0] != alone[2]


@pytest.mark.parametrize("model", MODELS)
def test_two_processes_have_the_metrics_of_one(both: tuple[dict[str, Any], dict[str, Any]], model: str) -> None:
    """Acceptance 15: given weights; the queries are divided unevenly."""
    alone, together = (outcome[model] for outcome in both)
    assert alone["metrics"] == pytest.approx(together["metrics"], abs=1e-9)
    assert alone["lists"] == together["lists"]


class Pair:
    """Two processes in one, for what must be seen from both: answers are what the other one would have sent."""

    def __init__(self, rank: int, counts: list[int]) -> None:
        self.rank, self.world, self.alone, self.first = rank, 2, False, rank == 0
        self._counts = counts

    def gather(self, rows: torch.Tensor) -> list[torch.Tensor]:
        return [torch.tensor([count]) for count in self._counts]


def test_slices_make_up_the_batch() -> None:
    view = tiny_view()
    batches = PairBatches(view, 7)
    step = Step(seed=0, phase="main", epoch=0, index=1)
    whole = batches.batch(step)
    parts = [take_slice(batches, step, Pair(rank, [3, 4])) for rank in (0, 1)]  # type: ignore[arg-type]
    assert torch.cat([batch.neg for batch, _ in parts]).tolist() == whole.neg.tolist()
    assert torch.cat([batch.row for batch, _ in parts]).tolist() == whole.row.tolist()
    assert [part for _, part in parts] == [Slice(3 / 7, 7, 0), Slice(4 / 7, 7, 3)]


def test_fewer_rows_than_processes_are_taken_whole_by_each() -> None:
    batches = PairBatches(tiny_view(), 1)
    step = Step(seed=0, phase="main", epoch=0, index=0)
    for rank in (0, 1):
        batch, part = take_slice(batches, step, Pair(rank, [0, 1]))  # type: ignore[arg-type]
        assert batch.row.tolist() == batches.batch(step).row.tolist()
        assert part == Slice(0.5, 1)


def test_alone_nothing_is_divided(toy: ModuleType) -> None:
    batches = toy.Batches(2)
    _, part = take_slice(batches, Step(seed=0, phase="table", epoch=0, index=0), Processes())
    assert part == Slice()
    assert count_rows({"row": torch.zeros(8), "x": torch.zeros(8, 4)}) == count_rows([torch.zeros(8)]) == 8
    with pytest.raises(TrainingError, match="no length"):
        count_rows(torch.tensor(1.0))


def test_gradients_alone_stay() -> None:
    parameter = nn.Parameter(torch.ones(3))
    parameter.grad = torch.arange(3.0)
    average_gradients([parameter], Slice(), Processes())
    assert parameter.grad.tolist() == [0, 1, 2]


def test_norms_of_squares_are_norms() -> None:
    rows = torch.randn(5, 3, requires_grad=True)
    norm = embedding_norm(rows, batch=5)
    with computing(Slice(1.0, 5)):
        again = norm_of_squares(rows.square().sum().reshape(1), 5)
    assert again.item() == pytest.approx(norm.item(), rel=1e-6)
    wanted, found = (torch.autograd.grad(value, rows)[0] for value in (norm, again))
    assert torch.allclose(wanted, found, atol=1e-7)
    zero = torch.zeros(2, 3, requires_grad=True)
    norm_of_squares(zero.square().sum().reshape(1), 2).backward()
    assert zero.grad is not None
    assert not zero.grad.any()
