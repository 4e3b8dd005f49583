"""Full ranking timed beside a plain reference, and beside `implicit` where it is installed: users per core-second.

    OMP_NUM_THREADS=1 python benchmarks/evaluation.py            # the shapes of MovieLens-1M and Amazon Video Games
    OMP_NUM_THREADS=1 python benchmarks/evaluation.py --shape 1M --rounds 5

All rank the same seeded vectors (d = 64) with the same masked items, Recall and NDCG at 20 (`implicit` computes its own
four metrics at 20). The plain reference is what one would write without thinking about speed: blocks of 4,096 users,
one product, masks by index, `torch.topk`, hits from a table of bits. The fastest of several alternating rounds counts,
in CPU seconds of one thread.
"""

import argparse
import os
import platform
import time
from collections.abc import Callable
from importlib.util import find_spec

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from sensorium.evaluation.ranking import evaluate
from sensorium.evaluation.tasks import RankingTask, task_from_rows

SHAPES = {"1M": (6_040, 3_706, 802_000, 100_000), ".3M": (31_013, 23_715, 239_000, 24_000)}
K, DIM = 20, 64


class Model:
    """Random vectors."""

    def __init__(self, n_users: int, n_items: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.users = torch.randn(n_users, DIM, generator=generator)
        self.items = torch.randn(n_items, DIM, generator=generator)

    def query_vectors(self, queries: torch.Tensor) -> torch.Tensor:
        return self.users[queries]

    def item_vectors(self) -> torch.Tensor:
        return self.items


def make_task(n_users: int, n_items: int, train: int, test: int) -> RankingTask:
    """Every user has train rows and a test row; items follow a long tail."""
    rng = np.random.default_rng(0)
    popularity = 1 / (np.arange(n_items) + 10)
    popularity /= popularity.sum()

    def rows(count: int) -> tuple[np.ndarray, np.ndarray]:
        users = np.concatenate([np.arange(n_users), rng.integers(0, n_users, max(0, count - n_users))])
        return users, rng.choice(n_items, len(users), p=popularity)

    masked, targets = rows(train), rows(max(test, n_users))
    return task_from_rows(n_items, targets, masked, n_users=n_users)


def ours(model: Model, task: RankingTask) -> dict[str, float]:
    return evaluate(model, task, ks=[K], metrics=["recall", "ndcg"]).summary


def plain(model: Model, task: RankingTask, block: int = 4096) -> dict[str, float]:
    discounts = 1 / torch.log2(torch.arange(2, K + 2, dtype=torch.float64))
    recalls, gains = [], []
    for start in range(0, len(task), block):
        part = task.rows(start, min(start + block, len(task)))
        n = len(part)
        scores = model.users[torch.from_numpy(part.query)] @ model.items.T
        rows = torch.from_numpy(np.repeat(np.arange(n), np.diff(part.mask_offsets)))
        scores[rows, torch.from_numpy(part.mask_items)] = float("-inf")
        top = scores.topk(K, dim=1).indices
        relevant = torch.zeros(n, task.n_items, dtype=torch.bool)
        rows = torch.from_numpy(np.repeat(np.arange(n), part.n_targets))
        relevant[rows, torch.from_numpy(part.target_items)] = True
        hits = relevant.gather(1, top).double()
        counts = torch.from_numpy(part.n_targets)
        ideal = discounts.cumsum(0)[counts.clamp(max=K) - 1]
        recalls.append(hits.sum(1) / counts)
        gains.append((hits * discounts).sum(1) / ideal)
    return {f"recall@{K}": float(torch.cat(recalls).mean()), f"ndcg@{K}": float(torch.cat(gains).mean())}


def with_implicit(model: Model, task: RankingTask) -> Callable[[], object]:
    from implicit.cpu.als import AlternatingLeastSquares
    from implicit.evaluation import ranking_metrics_at_k
    from scipy.sparse import csr_matrix

    peer = AlternatingLeastSquares(factors=DIM, num_threads=1)
    peer.user_factors, peer.item_factors = model.users[task.query].numpy(), model.items.numpy()
    shape = (len(task), task.n_items)

    def matrix(offsets: np.ndarray, items: np.ndarray) -> csr_matrix:
        return csr_matrix((np.ones(len(items), np.float32), items, offsets), shape=shape)

    train, test = matrix(task.mask_offsets, task.mask_items), matrix(task.target_offsets, task.target_items)
    return lambda: ranking_metrics_at_k(peer, train, test, K=K, show_progress=False, num_threads=1)


def seconds(function: Callable[[], object]) -> float:
    start = time.process_time()
    function()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=list(SHAPES), action="append")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}"
    )
    for shape in arguments.shape or SHAPES:
        n_users, n_items, train, test = SHAPES[shape]
        model, task = Model(n_users, n_items), make_task(n_users, n_items, train, test)
        runs: dict[str, Callable[[], object]] = {
            "sensorium": lambda model=model, task=task: ours(model, task),  # type: ignore[misc]
            "plain reference": lambda model=model, task=task: plain(model, task),  # type: ignore[misc]
        }
        if find_spec("implicit"):
            runs["implicit ranking_metrics_at_k"] = with_implicit(model, task)
        own, reference = ours(model, task), plain(model, task)
        assert all(abs(own[name] - reference[name]) < 1e-9 for name in own), (own, reference)
        taken: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(arguments.rounds):
            for name, run in runs.items():
                taken[name].append(seconds(run))
        print(f"\n{shape}: {len(task):,} users, {n_items:,} items, d = {DIM}, {len(task.mask_items):,} masked")
        for name, times in taken.items():
            ratio = min(times) / min(taken["sensorium"])
            print(f"  {name:32}{len(task) / min(times):>10,.0f} users/core-s   {ratio:6.2f} x our time")


if __name__ == "__main__":
    main()
