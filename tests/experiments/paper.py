"""Runs on paper: complete run folders whose numbers are chosen, for tests of what is made of them."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sensorium.core.files import write_json, write_parquet
from sensorium.core.rundir import RunDirectory

KS = (5, 20)
BUCKETS = ("warm", "cold", "0", "1-5", "6-20", ">20")


def write_run(
    path: Path,
    values: np.ndarray,
    *,
    model: str = "bpr",
    seed: int = 0,
    split: str = "random_per_user",
    mask: str = "train",
    tables: str = "f" * 32,
    settings: dict[str, Any] | None = None,
    features: dict[str, str] | None = None,
    cold: np.ndarray | None = None,
    notices: tuple[str, ...] = (),
    complete: bool = True,
) -> Path:
    """Write a run whose recall@20 of user i is values[i]; recall@5 is half of it, coverage@20 a tenth of the mean."""
    config = {
        "kind": "recommend",
        "data": {"dataset": "paper", "split": {"name": split}, "split_seed": 0, "min_rating": None, "features": None},
        "model": {"name": model, **(settings or {})},
        "training": {"epochs": 3},
        "evaluation": {"ks": list(KS), "metrics": ["recall", "coverage"], "mask": mask, "tie_seed": 0},
        "selection": "recall@20",
        "seed": seed,
    }
    run = RunDirectory.create(path, config)
    for epoch, value in ((1, 0.1), (2, 0.3), (3, 0.2)):
        record = {"epoch": epoch, "loss": {"main": {"ranking": 1 / epoch, "reg": 0.1}}, "valid": {"recall@20": value}}
        run.append("metrics.jsonl", record)
    write_json(path / "data.json", {"dataset": "paper", "root": str(path), "tables": tables, "features": {}})
    seconds = {"train_seconds": 2.0, "validation_seconds": 0.5, "after_training_seconds": 0.5, "test_seconds": 0.25}
    run.append(
        "timing.jsonl", {"stage": "test", **seconds, "test_users_per_second": 400.0, "peak_memory_bytes": 3 << 20}
    )
    write_parquet(path / "per_user.parquet", _per_user(values))
    result: dict[str, Any] = {
        "model": model,
        "seed": seed,
        "data": {
            "name": "paper",
            "fingerprint": "0" * 32,
            "users": 100,
            "items": 50,
            "rows": {"train": 800, "valid": 100, "test": 100},
            "split": {"name": split},
            "split_seed": 0,
            "uses_future": split == "random_per_user",
            "left_out": {"repeated_pairs": 7},
            "notices": list(notices),
            "features": {
                name: {"dim": 4, "present": 49, "items": 50, "provenance": origin, "digest": origin.ljust(32, "x")}
                for name, origin in (features or {}).items()
            },
        },
        "evaluation": config["evaluation"],
        "selection": {"name": "recall@20", "value": 0.3, "epoch": 2},
        "training": {
            "best_epoch": 2, "best_value": 0.3, "epochs": 3, "stopped": "epochs", "parameters": 9600, "skipped_rows": 0,
        },
        "valid": _report(values),
        "test": _report(values),
        "buckets": {
            name: {"items": 10, **_report(values * share)}
            for name, share in zip(BUCKETS, (1, 0.1, 0.1, 0.5, 1, 1), strict=True)
        },
    }  # fmt: skip
    if cold is not None:
        write_parquet(path / "per_user_cold.parquet", _per_user(cold))
        result["cold_items"] = {"items": 5, "whole_catalogue": _report(values), "among_cold": _report(cold)}
    if complete:
        run.write_result(result)
    else:
        write_json(path / "half.json", {})
    return path


def _per_user(values: np.ndarray) -> pl.DataFrame:
    # Users are written in another order by each model: only their ids say who is who.
    order = np.argsort(values, kind="stable")
    table = pl.DataFrame(
        {"user_id": [f"u{number:03d}" for number in range(len(values))], "recall@5": values / 2, "recall@20": values}
    )
    return table[order]


def _report(values: np.ndarray) -> dict[str, Any]:
    mean = float(values.mean())
    return {
        "metrics": {"recall@5": mean / 2, "recall@20": mean, "coverage@5": mean / 20, "coverage@20": mean / 10},
        "intervals": {"recall@5": [mean / 2 - 0.01, mean / 2 + 0.01], "recall@20": [mean - 0.02, mean + 0.02]},
        "n": len(values),
        "excluded": {"users_without_targets": 3, "unreachable_targets": 2},
        "counts": {},
        "tie_share": 0.0,
        "ties": {"5": 0.0, "20": 0.0},
        "rules": {"masked": "the user's train rows", "ties": "one permutation of the catalogue"},
    }
