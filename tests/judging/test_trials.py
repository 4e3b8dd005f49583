"""The commands behind the results page."""

import json
from pathlib import Path

import pytest

from sensorium.core.config import to_yaml
from sensorium.judging.records import read_records
from sensorium.judging.trials import main

from .videos import write_grid


def test_protocols_are_compared_with_any_judge(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command for an endpoint: the same videos by direct and by the dimensions' own protocols, beside people."""
    write_grid(tmp_path, prompts=3)
    tree = {
        "kind": "judge",
        "videos": {"manifest": str(tmp_path / "videos.csv")},
        "prompts": "manifest",
        "dimensions": ["temporal_consistency"],
        "judge": "scripted",
        "frames": {"processes": 1},
        "board": {"draws": 100},
    }
    (tmp_path / "judge.yaml").write_text(to_yaml(tree))
    lines = ["prompt_id,model,rater,temporal_consistency"]
    lines += [f"q{p},m{m},{r},{1 + (m + p + r) % 5}" for p in range(3) for m in range(3) for r in range(2)]
    (tmp_path / "ratings.csv").write_text("\n".join(lines) + "\n")
    given = [
        "--ratings",
        str(tmp_path / "ratings.csv"),
        "--runs",
        str(tmp_path / "runs"),
        "--rows",
        str(tmp_path),
        "--resamples",
        "50",
    ]
    assert main(["protocols", str(tmp_path / "judge.yaml"), *given]) == 0
    assert "1 rows" in capsys.readouterr().out
    (row,) = map(json.loads, (tmp_path / "video-bench-protocols.jsonl").read_text().splitlines())
    assert row["dimension"] == "temporal_consistency"
    assert row["rho_difference"] == [0.0, 0.0, 0.0]  # a script sees the same in both
    assert row["own"]["items"] == row["direct"]["items"] == 9
    protocols = {name: read_records(tmp_path / "runs" / name / "records.jsonl")[0].judge for name in ("direct", "own")}
    assert protocols["direct"].protocol_version.startswith("direct/")
    assert protocols["own"].protocol_version.startswith("few-shot-joint/")
    before = (tmp_path / "runs" / "own" / "records.jsonl").stat().st_mtime_ns
    main(["protocols", str(tmp_path / "judge.yaml"), *given])
    assert (tmp_path / "runs" / "own" / "records.jsonl").stat().st_mtime_ns == before  # complete runs are not repeated
