"""Two real processes of torchrun train sequential models to the losses and the weights of one."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

PROGRAM = Path(__file__).parent / "together.py"
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
CASES = ("sasrec", "gru4rec", "nextitnet", "sampled", "full", "costly")


def outcomes(folder: Path) -> dict[str, Any]:
    return {case: json.loads((folder / f"{case}.json").read_text()) for case in CASES}


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any]]:
    """What this process leaves alone, and what two processes leave."""
    alone, together = tmp_path_factory.mktemp("alone"), tmp_path_factory.mktemp("together")
    runpy.run_path(str(PROGRAM))["work"](alone)
    ended = subprocess.run([*TORCHRUN, str(PROGRAM), str(together)], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return outcomes(alone), outcomes(together)


@pytest.mark.parametrize("case", CASES)
def test_two_processes_have_the_losses_and_weights_of_one(
    both: tuple[dict[str, Any], dict[str, Any]], case: str
) -> None:
    """Negatives come from the whole batch, means are over all its states, dropout is drawn for all of it."""
    alone, together = (outcome[case] for outcome in both)
    for one, two in zip(alone["losses"], together["losses"], strict=True):
        assert one == pytest.approx(two, abs=1e-5)
    assert alone["losses"][0] != alone["losses"][1]
    assert torch.allclose(torch.tensor(alone["vectors"]), torch.tensor(together["vectors"]), atol=1e-4)
