"""`sensorium judge`: from a manifest to a page, to the released layout, and to agreement with people."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from sensorium.media.video import write_video

from .conftest import Command


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three prompts of two models, whose brightness the scripted judge scores, with ratings by three people."""
    folder = tmp_path_factory.mktemp("videos")
    rows, rated = [], []
    for prompt in range(3):
        for model, light in (("dim", 20 + 60 * prompt), ("bright", 70 + 60 * prompt)):
            name = f"{model}-{prompt}.mp4"
            write_video(folder / name, [np.full((32, 48, 3), light, np.uint8)] * 6, fps=8)
            rows.append({"model": model, "prompt_id": f"q{prompt}", "prompt": f"=p{prompt}", "sample": 0, "path": name})
            rated += [
                {"prompt_id": f"q{prompt}", "model": model, "rater": rater, "imaging_quality": light // 60 + 1}
                for rater in range(3)
            ]
    for file, table in (("videos.csv", rows), ("ratings.csv", rated)):
        with (folder / file).open("w", newline="") as handle:
            writer = csv.DictWriter(handle, list(table[0]))
            writer.writeheader()
            writer.writerows(table)
    (folder / "judge.yaml").write_text(
        f"kind: judge\nvideos: {{manifest: '{folder}/videos.csv'}}\nprompts: manifest\njudge: scripted\n"
        "dimensions: [imaging_quality, color]\nframes: {processes: 1}\nboard: {draws: 200}\n"
    )
    return folder


def test_from_videos_to_a_page_and_people(command: Command, videos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    told = command("judge", "run", videos / "judge.yaml", "--dry-run")
    assert (told.status, run.exists()) == (0, False)
    assert told.out.splitlines()[-2].split()[:3] == ["total", "12", "36"]

    done = command("judge", "run", videos / "judge.yaml", "--out", run)
    assert done.status == 0, done.err
    assert "simulated" in done.out
    assert f"report: {run / 'report.html'}" in done.out
    page = (run / "report.html").read_text()
    assert "<img" in page
    assert "mean brightness" in page

    again = command("judge", "report", run, "--released-layout", tmp_path / "released")
    assert again.status == 0, again.err
    released = json.loads((tmp_path / "released" / "results_imaging_quality_score_results.json").read_text())
    assert set(released["average_scores"]) == {"dim", "bright"}
    assert released["average_scores"]["bright"] > released["average_scores"]["dim"]

    agreed = command("judge", "agree", run, "--ratings", videos / "ratings.csv")
    assert agreed.status == 0, agreed.err
    assert "imaging_quality" in agreed.out
    assert "color" not in agreed.out
    assert json.loads((run / "agreement.json").read_text())["dimensions"]["imaging_quality"]["items"] == 6


def test_words_that_are_wrong(command: Command, videos: Path, tmp_path: Path) -> None:
    wrong = command("judge", "run", videos / "judge.yaml", "--set", "frames.side=3")
    assert wrong.status == 2
    assert "frames.side: unknown key; did you mean frames.long_side?" in wrong.err
    unknown = command("judge", "run", videos / "judge.yaml", "--set", "judge=scriptd")
    assert "did you mean 'scripted'" in unknown.err
    other = command("judge", "resume", tmp_path)
    assert other.status == 2
    assert "holds no run" in other.err
