"""The processes that work on one job together, as `torchrun` starts them, and what they tell each other.

    torchrun --nproc-per-node 2 --no-python sensorium run config.yaml

Every process does the same work on its share of the rows. Where they need each other's numbers they meet: the same
call, in the same order, in all of them. A process that was started alone meets nobody, and each call gives back what it
got.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Processes:
    """All processes of a job, seen from one of them.

    Attributes:
        rank: Which one this is, from 0. The first one alone writes.
        world: How many there are.
    """

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there is no other."""
        return self.world == 1

    def add_up(self, tensor: Tensor) -> Tensor:
        """Replace a dense tensor by its sum over all processes, the same bits in each of them; return it."""
        if not self.alone:
            from torch import distributed

            distributed.all_reduce(tensor)
        return tensor

    def gather(self, rows: Tensor) -> list[Tensor]:
        """Return the tensors of all processes, in the order of their ranks; they may differ in their first size."""
        if self.alone:
            return [rows]
        import torch
        from torch import distributed

        plain = rows.view(torch.uint8) if rows.dtype == torch.bool else rows
        counts = [torch.zeros(1, dtype=torch.int64) for _ in range(self.world)]
        distributed.all_gather(counts, torch.tensor([len(rows)]))
        longest = max(int(count) for count in counts)
        sent = plain.new_zeros(longest, *plain.shape[1:])
        sent[: len(plain)] = plain
        received = [torch.empty_like(sent) for _ in range(self.world)]
        distributed.all_gather(received, sent)
        return [part[: int(count)].view(rows.dtype) for part, count in zip(received, counts, strict=True)]

    def text_of_first(self, text: str) -> str:
        """Return the first process's text."""
        if self.alone:
            return text
        import torch

        return bytes(self.gather(torch.tensor(list(text.encode()), dtype=torch.uint8))[0].tolist()).decode()

    def wait(self) -> None:
        """Wait until all processes are here."""
        self.text_of_first("")


def processes() -> Processes:
    """Return the processes that this one works with: those of the group that it has joined, else itself alone."""
    if started_together() == 1:
        return Processes()
    from torch import distributed

    if not distributed.is_initialized():
        return Processes()
    return Processes(distributed.get_rank(), distributed.get_world_size())


def started_together() -> int:
    """Return how many processes `torchrun` started: 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


def speaks() -> bool:
    """Return whether this process is the one that people hear: the first that `torchrun` started, or the only one."""
    return started_together() == 1 or os.environ["RANK"] == "0"


@contextmanager
def joined() -> Iterator[Processes]:
    """Join the group of the processes that `torchrun` started, for as long as the block lasts."""
    if started_together() == 1:
        yield Processes()
        return
    import torch
    from torch import distributed

    if distributed.is_initialized():
        yield processes()
        return
    distributed.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield processes()
    finally:
        distributed.destroy_process_group()


# --- the slice of a batch -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Slice:
    """What part of a batch this process computes the loss of.

    Attributes:
        share: Its weight in the mean over all processes: its rows / rows of the batch.
        rows: Rows of the whole batch, None where nothing is divided.
        first: The place among them of this process's first row.
    """

    share: float = 1.0
    rows: int | None = None
    first: int = 0


_current = Slice()


def current_slice() -> Slice:
    """Return the slice that a loss is being computed of."""
    return _current


@contextmanager
def computing(part: Slice) -> Iterator[None]:
    """Say which slice a loss is computed of, for terms that need the whole batch."""
    global _current
    before, _current = _current, part
    try:
        yield
    finally:
        _current = before
