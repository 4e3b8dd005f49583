"""implicit: BPR by Hogwild SGD with its own negatives, and its ranking metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from implicit.cpu.bpr import BayesianPersonalizedRanking
from implicit.evaluation import ranking_metrics_at_k
from scipy.sparse import csr_matrix
from worker import Task, serve


def matrix(data: Mapping[str, Any], part: str) -> csr_matrix:
    user, item = data[f"{part}_user"], data[f"{part}_item"]
    return csr_matrix((np.ones(len(user), np.float32), (user, item)), shape=tuple(data["size"]))


def bpr(data: Mapping[str, Any], asked: Mapping[str, Any]) -> Task:
    rows = matrix(data, "train")
    model = BayesianPersonalizedRanking(
        factors=data["user_vectors"].shape[1],
        learning_rate=0.05,
        regularization=0.01,
        iterations=asked["epochs"],
        num_threads=asked["threads"],
        random_state=0,
    )

    def work() -> Mapping[str, float]:
        model.fit(rows, show_progress=False)
        return {}

    return Task(work, asked["epochs"] * rows.nnz)


def evaluation(data: Mapping[str, Any], asked: Mapping[str, Any]) -> Task:
    model = AlternatingLeastSquares(factors=data["user_vectors"].shape[1], num_threads=asked["threads"])
    model.user_factors, model.item_factors = data["user_vectors"], data["item_vectors"]
    train, test = matrix(data, "train"), matrix(data, "test")

    def work() -> Mapping[str, float]:
        found = ranking_metrics_at_k(model, train, test, K=20, show_progress=False, num_threads=asked["threads"])
        return {
            "ndcg@20": found["ndcg"]
        }  # its precision divides by min(targets, k): it is neither recall nor precision

    return Task(work, len(np.unique(data["test_user"])))


if __name__ == "__main__":
    serve({"bpr": bpr, "evaluation": evaluation}, ("implicit",))
