"""The metric judge: scores by the weights that ship, and what it declines."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from sensorium.core.errors import DataError
from sensorium.core.files import read_json, write_json
from sensorium.judging.cells import VideoCell
from sensorium.judging.dimensions import built_in, dimension
from sensorium.judging.judges.base import VideoJudge
from sensorium.judging.metric.judge import MeasureVideo, MetricJudge
from sensorium.judging.metric.weights import SHIPPED, read_weights
from sensorium.media.video import Pixels, write_video
from sensorium.media.workers import Workers

from .clips import pan, still

QUALITY = ("imaging_quality", "aesthetic_quality", "temporal_consistency", "motion_effects")


def cell(folder: Path, frames: list[Pixels], name: str = "x", fps: float = 10) -> VideoCell:
    path = folder / f"{name}.mp4"
    write_video(path, frames, fps)
    return VideoCell(name, "p", "a texture", 0, path)


def test_it_is_a_video_judge_with_a_name_that_follows_its_weights(tmp_path: Path) -> None:
    judge = MetricJudge()
    assert isinstance(judge, VideoJudge)
    assert judge.family == "metric"
    tree = read_json(SHIPPED)
    tree["dimensions"]["imaging_quality"]["signals"][0]["weight"] = 0.5
    write_json(tmp_path / "w.json", tree)
    assert MetricJudge(MetricJudge.Config(weights=tmp_path / "w.json")).id != judge.id


def test_the_weights_that_ship_keep_their_signs_and_their_notice() -> None:
    tree = read_json(SHIPPED)
    assert "CC BY 4.0" in tree["notice"]
    assert "Fitted coefficients" in tree["notice"]
    for head in tree["dimensions"].values():
        assert all(signal["weight"] * signal["sign"] >= 0 for signal in head["signals"])
    assert set(read_weights().heads) == set(QUALITY)


def test_quality_has_scores_and_alignment_is_unsupported(tmp_path: Path) -> None:
    """7.11: never a constant."""
    judge = MetricJudge()
    one = cell(tmp_path, pan(8))
    measured = judge.measure(one)
    for name, rubric in built_in().items():
        found = judge.judge(one, rubric, measured)
        assert found.frames == tuple(range(8))
        if name in QUALITY:
            assert found.status == "ok"
            assert found.score is not None
            assert 1 <= found.score <= 5
            assert found.notes["prompt"] == "not used"
            assert 0.2 < found.notes["uncertainty"] < 2
            assert found.reason.endswith(tuple("0123456789")) or "metric judge" in found.reason
        else:
            assert (found.status, found.score) == ("unsupported", None)
            assert "encoder" in found.reason


def test_a_still_picture_gets_no_top_motion_score(tmp_path: Path) -> None:
    """7.10: the signs reward what does not move; its motion is capped at the middle of the scale."""
    judge = MetricJudge()
    one = cell(tmp_path, still(8))
    measured = judge.measure(one)
    motion = judge.judge(one, dimension("motion_effects"), measured)
    assert motion.score is not None
    assert motion.score <= 3
    assert motion.reason.startswith("no motion")
    moving = cell(tmp_path, pan(8), "y")
    assert "no motion" not in judge.judge(moving, dimension("motion_effects"), judge.measure(moving)).reason


def test_too_few_frames_for_change_over_time(tmp_path: Path) -> None:
    judge = MetricJudge()
    one = cell(tmp_path, pan(2))
    measured = judge.measure(one)
    assert judge.judge(one, dimension("temporal_consistency"), measured).status == "unsupported"
    assert judge.judge(one, dimension("imaging_quality"), measured).status == "ok"


class Brightness:
    """An encoder of texts and pictures that knows one word."""

    id = "brightness"

    def texts(self, texts: list[str]) -> np.ndarray:
        return np.array([[1.0, 0.0] if "bright" in text else [0.0, 1.0] for text in texts], np.float32)

    def pictures(self, frames: list[Pixels]) -> np.ndarray:
        level = np.array([frame.mean() / 255 for frame in frames])
        return np.column_stack([level, 1 - level]).astype(np.float32)


def test_with_an_encoder_the_prompt_decides(tmp_path: Path) -> None:
    """An encoder plugs in without a change here: its cosines, the weights' alignment head, 3 levels mapped linearly."""
    tree = read_json(SHIPPED)
    signals = [
        {"name": name, "sign": 1, "mean": 0.6, "deviation": 0.2, "weight": 0.8}
        for name in ("cosine_mean", "cosine_min")
    ]
    tree["dimensions"]["alignment"] = {"intercept": 3.0, "residual": 0.5, "signals": signals}
    write_json(tmp_path / "w.json", tree)
    judge = MetricJudge(MetricJudge.Config(weights=tmp_path / "w.json"), Brightness())
    assert "brightness" in judge.id
    white = [np.full((96, 96, 3), 250, np.uint8)] * 5
    one = cell(tmp_path, white)
    measured = judge.measure(one)
    assert len(measured.looks) == 5
    asked = [VideoCell("m", "p", text, 0, one.path) for text in ("a bright wall", "a dark wall")]
    scores = [judge.judge(each, dimension("color"), measured).score for each in asked]
    assert scores == [pytest.approx(3.0), pytest.approx(1.0)]
    five = judge.judge(asked[0], dimension("video_text_consistency"), measured)
    assert five.score == pytest.approx(5)
    assert "prompt" not in five.notes


def test_weights_of_other_signals_are_refused(tmp_path: Path) -> None:
    tree = read_json(SHIPPED)
    write_json(tmp_path / "w.json", tree | {"signals_version": 0})
    with pytest.raises(DataError, match="calibrate"):
        read_weights(tmp_path / "w.json")
    (tmp_path / "w.json").write_text("{}")
    with pytest.raises(DataError, match="no weights of the metric judge"):
        read_weights(tmp_path / "w.json")


def test_scores_are_the_same_with_four_threads(tmp_path: Path) -> None:
    """VJ-9: metric scores with 1 and with 4 threads differ by at most 1e-3."""
    judge, one = MetricJudge(), cell(tmp_path, pan(8))
    before, scores = cv2.getNumThreads(), []
    try:
        for threads in (1, 4):
            cv2.setNumThreads(threads)
            measured = judge.measure(one)
            scores.append([judge.judge(one, dimension(name), measured).score or 0.0 for name in QUALITY])
    finally:
        cv2.setNumThreads(before)
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)


def test_measuring_travels_to_another_process(tmp_path: Path) -> None:
    one = cell(tmp_path, pan(4))
    with Workers(1) as workers:
        found = workers.call(MeasureVideo(2), one, source=str(one.path))
    here = MeasureVideo(2)(one)
    assert found.values == here.values
    assert len(found.looks) == 2


@pytest.mark.slow
def test_a_clip_and_its_distorted_copy(shared_data: Path) -> None:
    """7.10: carphone_distorted below carphone_pristine."""
    judge, rubric, scores = MetricJudge(), dimension("imaging_quality"), []
    for name in ("carphone_distorted", "carphone_pristine"):
        one = VideoCell(name, "p", "", 0, shared_data / "videos-free" / f"{name}.mp4")
        scores.append(judge.judge(one, rubric, judge.measure(one)).score)
    assert scores[0] is not None
    assert scores[1] is not None
    assert scores[0] < scores[1]


def test_the_committed_rows_hold_what_is_promised() -> None:
    """7.9, correctness: ratings permuted over clips, mean pooled rho at most .10."""
    rows = Path(__file__).parents[3] / "docs" / "results" / "rows" / "video-bench-metric.jsonl"
    default = [row for row in map(json.loads, rows.read_text().splitlines()) if row.get("default")]
    assert {row["dimension"] for row in default} == set(QUALITY)
    assert all(row["permuted_ratings"]["mean"] <= 0.10 for row in default)
    assert all(row["permuted_ratings"]["draws"] == 20 for row in default)
