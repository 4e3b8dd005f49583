"""The commands behind the results page."""

import json
from pathlib import Path

import pytest

from sensorium.core.config import to_yaml
from sensorium.judging.records import read_records
from sensorium.judging.trials import main
from sensorium.judging.trials_page import PAGE, filled

from .videos import write_grid

ROOT = Path(__file__).parents[2]


def test_the_tables_of_the_page_are_made_of_the_rows() -> None:
    page = (ROOT / PAGE).read_text(encoding="utf-8")
    assert page.count("<!-- trial: ") == 4
    assert filled(page, ROOT / "docs" / "results" / "rows") == page


def test_what_the_page_says_first_stands_in_the_rows() -> None:
    """7.14, outcomes: intervals of the paired differences lie above 0; the gain with both errors is the smaller one."""
    lines = (ROOT / "docs" / "results" / "rows" / "video-bench-simulated.jsonl").read_text().splitlines()
    rows = {row["trial"]: row["scores"]["tau_difference"] for row in map(json.loads, lines)}
    assert all(low > 0 for _, low, _ in rows.values())
    assert rows["both"][0] < rows["missed"][0]
    first = (ROOT / PAGE).read_text(encoding="utf-8").split("\n\n")[1]
    assert all(f"**{value:.3f}**".replace("0.", ".") in first for value, _, _ in rows.values())


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
