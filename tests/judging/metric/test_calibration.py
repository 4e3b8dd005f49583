"""Calibration: from a table of ratings and clips to weights that a judge reads."""

from pathlib import Path

import numpy as np
import pytest

from sensorium.core.errors import DataError
from sensorium.core.seeds import numpy_generator
from sensorium.judging.metric.calibration import (
    RECIPES,
    Recipe,
    calibrate,
    clips_of,
    figures,
    permuted,
    rated_clips,
    targets,
    training_hash,
)
from sensorium.judging.metric.distortions import STATIC
from sensorium.judging.metric.judge import MetricJudge
from sensorium.judging.metric.measuring import ORIGINAL, Piece, measure_all
from sensorium.judging.metric.signals import IMAGING, Signals
from sensorium.media.video import write_video

from .clips import pan

RECIPE = {"imaging_quality": Recipe("quality", IMAGING, ("blur",), 0.2)}


def write_clips(folder: Path, *, prompts: int = 3) -> tuple[Path, Path]:
    """Two models' clips of a few frames, and what two raters say of them."""
    videos, ratings = ["model\tprompt_id\tfile"], ["prompt_id,model,rater,quality"]
    for prompt in range(prompts):
        for place, model in enumerate("ab"):
            name = f"{model}_{prompt}.mp4"
            write_video(folder / name, pan(2, seed=10 * prompt + place), 10)
            videos.append(f"{model}\t{prompt}\t{name}")
            ratings += [f"{prompt},{model},{rater},{1 + (prompt + place + rater) % 5}" for rater in range(2)]
    (folder / "videos.tsv").write_text("\n".join(videos) + "\n")
    (folder / "ratings.csv").write_text("\n".join(ratings) + "\n")
    return folder / "ratings.csv", folder / "videos.tsv"


def test_from_tables_to_a_judge(tmp_path: Path) -> None:
    """The command of the how-to: weights of one's own ratings, kept signals, one sentence for each dimension."""
    ratings, videos = write_clips(tmp_path)
    made = calibrate(ratings, videos, tmp_path / "w.json", recipes=RECIPE, notice="mine", processes=1, resamples=100)
    assert made.tree["training"] | {"hash": ""} == {"clips": 6, "prompts": 3, "models": ["a", "b"], "hash": ""}
    assert made.tree["notice"] == "mine"
    assert "imaging_quality: rho" in made.summary()[1]
    assert len(list((tmp_path / "w.json.signals").glob("*.json"))) == 12
    assert MetricJudge(MetricJudge.Config(weights=tmp_path / "w.json")).id.startswith("metric-")
    kept = tmp_path / "w.json.signals"
    again = calibrate(ratings, videos, tmp_path / "v.json", kept=kept, recipes=RECIPE, notice="mine", resamples=100)
    assert again.tree == made.tree


def test_a_changed_clip_is_measured_anew(tmp_path: Path) -> None:
    _, videos = write_clips(tmp_path)
    clip = rated_clips(videos)[0]
    before = Piece(clip).path(tmp_path)
    write_video(clip.path, pan(3, seed=99), 10)
    assert Piece(clip).path(tmp_path) != before


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    ratings, videos = write_clips(tmp_path)
    clips = rated_clips(videos)
    known = training_hash(ratings, clips)
    assert training_hash(ratings, clips[::-1]) == known
    with pytest.raises(DataError, match="has no column quality2"):
        targets(ratings, clips, "quality2")
    lines = ratings.read_text().splitlines()
    ratings.write_text("\n".join(line for line in lines if not line.startswith("2,b")) + "\n")
    assert training_hash(ratings, clips) != known
    with pytest.raises(DataError, match=r"no rating 'quality' of b / 2 / 0"):
        targets(ratings, clips, "quality")
    clips[0].path.unlink()
    with pytest.raises(DataError, match="1 clips are not there"):
        rated_clips(videos)
    videos.write_text("model\tprompt\n")
    with pytest.raises(DataError, match="has no column prompt_id, file"):
        rated_clips(videos)


def test_a_clip_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    _, videos = write_clips(tmp_path, prompts=1)
    clips = rated_clips(videos)
    clips[0].path.write_bytes(b"no video")
    with pytest.raises(DataError, match=r"a_0\.mp4"):
        measure_all(clips, [ORIGINAL], tmp_path / "signals", processes=1)


def made_clips(seed: int = 0) -> tuple[list[object], dict[str, list[Signals]], np.ndarray]:
    """Signals of 12 prompts by 3 models whose sharpness people rate, without any file."""
    from sensorium.judging.cells import VideoCell

    draw = numpy_generator(seed, "clips")
    cells = [VideoCell(model, str(prompt), "", 0, Path("x")) for prompt in range(12) for model in "abc"]
    sharp = draw.normal(2, 0.3, len(cells))
    names = [name for name in IMAGING if name != "edge_sharpness"]
    other = {name: draw.normal(size=len(cells)) for name in names}

    def signals(shift: float) -> list[Signals]:
        return [
            Signals({"edge_sharpness": sharp[place] + shift, **{name: other[name][place] for name in names}}, 9)
            for place in range(len(cells))
        ]

    measured = {ORIGINAL: signals(0), **{kind: signals(-1.0) for kind in STATIC}}
    return list(cells), measured, np.clip(3 + 2 * (sharp - 2) + 0.3 * draw.normal(size=len(cells)), 1, 5)


def test_figures_of_clips_whose_ratings_follow_a_signal() -> None:
    cells, measured, target = made_clips()
    recipe = RECIPES["imaging_quality"]
    clips = clips_of(cells, measured, target, recipe)  # type: ignore[arg-type]
    scores, copies = clips.rated.left_out(clips.prompt)
    found = figures(clips, scores, copies, recipe.kinds, resamples=200)
    assert found["pooled"][0] > 0.7
    assert found["within_model"][0] > 0.6
    assert found["without_model"][0] > 0.6
    assert found["mae"] < 0.7 * found["mae_constant"]
    assert found["mae_ratio"][2] < 1
    assert found["best_signal"]["name"] == "edge_sharpness"
    assert found["below"]["all"][0] == 1
    assert set(found["below"]) == {*STATIC, "all"}
    assert permuted(clips).mean() <= 0.10


def test_too_few_prompts_to_leave_one_out() -> None:
    cells, measured, target = made_clips()
    few = {kind: signals[:6] for kind, signals in measured.items()}
    with pytest.raises(DataError, match="at least three prompts"):
        clips_of(cells[:6], few, target[:6], RECIPES["imaging_quality"])  # type: ignore[arg-type]
