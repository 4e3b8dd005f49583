"""Cornac: BPR by Hogwild SGD with uniform negatives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from cornac.data import Dataset
from cornac.models import BPR
from worker import Task, serve


def bpr(data: Mapping[str, Any], asked: Mapping[str, Any]) -> Task:
    user, item = data["train_user"], data["train_item"]
    rows = Dataset.build(zip(user.tolist(), item.tolist(), np.ones(len(user)).tolist(), strict=True), seed=0)
    model = BPR(
        k=data["user_vectors"].shape[1],
        max_iter=asked["epochs"],
        learning_rate=0.05,
        lambda_reg=0.01,
        use_bias=False,
        num_threads=asked["threads"],
        seed=0 if asked["threads"] == 1 else None,
        verbose=False,
    )

    def work() -> Mapping[str, float]:
        model.fit(rows)
        return {}

    return Task(work, asked["epochs"] * len(user))


if __name__ == "__main__":
    serve({"bpr": bpr}, ("cornac",))
