"""RecTools: its fast SASRec in a bare loop, with a softmax over all items."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from rectools.fast_transformers import FlatSASRecNet
from torch.nn import functional
from worker import SEQUENCE, SEQUENCES, Task, serve


def windows(data: Mapping[str, Any]) -> torch.Tensor:
    """Return each user's last SEQUENCE + 1 items, 1 to I, 0 on the left: int64 [U, SEQUENCE + 1]."""
    users = int(data["size"][0])
    order = np.lexsort((data["train_time"], data["train_user"]))
    user, item = data["train_user"][order], data["train_item"][order] + 1
    ends = np.cumsum(np.bincount(user, minlength=users))
    place = ends[:, None] - (SEQUENCE + 1) + np.arange(SEQUENCE + 1)
    starts = ends - np.bincount(user, minlength=users)
    inside = place >= starts[:, None]
    return torch.from_numpy(np.where(inside, item[np.where(inside, place, 0)], 0))


def sasrec(data: Mapping[str, Any], asked: Mapping[str, Any]) -> Task:
    torch.set_num_threads(asked["threads"])
    torch.manual_seed(0)
    found = windows(data)
    items, width = int(data["size"][1]), data["user_vectors"].shape[1]
    net = FlatSASRecNet(items, width, n_blocks=2, n_heads=2, session_max_len=SEQUENCE, dropout=0.1).train()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)

    def work() -> Mapping[str, float]:
        order = torch.randperm(len(found))
        for step in range(asked["steps"]):
            rows = found[order[step * SEQUENCES : (step + 1) * SEQUENCES]]
            x, y = rows[:, :-1], rows[:, 1:].clone()
            y[x == 0] = 0
            scores = net({"x": x, "y": y})
            loss = functional.cross_entropy(scores.flatten(0, 1), y.flatten() - 1, ignore_index=-1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return {}

    steps = -(-len(found) // SEQUENCES)
    return Task(work, len(data["train_user"]) * asked["steps"] // steps)


if __name__ == "__main__":
    serve({"sasrec": sasrec}, ("rectools", "torch"))
