"""Ratings of people: reading them, and the statistics that are known of the released files."""

from pathlib import Path

import numpy as np
import pytest

from sensorium.core.errors import DataError
from sensorium.core.files import write_json
from sensorium.evaluation import agreement
from sensorium.judging.human import HumanRatings, rater_statistics, read_annotations, read_ratings

# items, mean leave-one-out rho and tau-b, alpha nominal / ordinal / interval, alpha of standardised raters
GOLDEN = {
    "imaging_quality": (1911, 0.570, 0.484, -0.030, 0.094, 0.099, 0.450),
    "aesthetic_quality": (1911, 0.496, 0.414, -0.007, 0.076, 0.076, 0.383),
    "temporal_consistency": (1638, 0.558, 0.462, 0.117, 0.357, 0.354, 0.443),
    "motion_effects": (1638, 0.612, 0.504, 0.108, 0.384, 0.373, 0.495),
    "video-text consistency": (1911, 0.633, 0.539, 0.291, 0.457, 0.471, 0.521),
    "object_class": (1659, 0.555, 0.519, 0.416, 0.476, 0.506, 0.518),
    "color": (1785, 0.553, 0.522, 0.376, 0.485, 0.551, 0.555),
    "action": (1638, 0.531, 0.478, 0.210, 0.331, 0.372, 0.444),
    "scene": (1806, 0.540, 0.497, 0.312, 0.402, 0.434, 0.463),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_statistics(shared_data: Path, name: str) -> None:
    """7.2: every number of the first table of section 6, and what golden_stats.txt adds, within .001."""
    found = rater_statistics(read_annotations(shared_data / "video_bench" / "human_anno" / f"{name}.json"))
    numbers = [found["loo_rho_mean"], found["loo_tau_mean"], *found["alpha"].values(), found["alpha_z"]]
    assert found["items"] == GOLDEN[name][0]
    assert numbers == pytest.approx(GOLDEN[name][1:], abs=0.001)
    lines = (shared_data / "video_bench" / "golden_stats.txt").read_text().splitlines()
    place = next(number for number, line in enumerate(lines) if line.startswith(f"{name} N "))
    words = lines[place].replace("[", "").replace("]", "").replace(",", "").split()
    assert found["missing"] == int(words[words.index("missing(0)") + 1])
    assert found["pairwise_rho"] == pytest.approx(float(words[words.index("pairwise_rho") + 1]), abs=0.001)
    start = words.index("LOO_rho") + 1
    assert found["loo_rho"] == pytest.approx([float(word) for word in words[start : start + 4]], abs=0.001)
    for part in lines[place + 1].strip().removeprefix("human: {").removesuffix("}").split(", "):
        model, _, mean = part.partition(": ")
        assert found["model_means"][model.strip("'")] == pytest.approx(float(mean), abs=0.001)


@pytest.mark.parametrize(
    ("name", "rho", "tau", "low", "high"),
    [("temporal_consistency", 0.2762, 0.2194, 0.214, 0.334), ("motion_effects", -0.0140, -0.0114, -0.096, 0.068)],
)
def test_the_judge_in_the_dynamic_files(
    shared_data: Path, name: str, rho: float, tau: float, low: float, high: float
) -> None:
    """7.2: grid_view against the human mean within 5e-4; its interval by prompt within what 2,000 draws allow."""
    human = read_annotations(shared_data / "video_bench" / "human_anno" / f"{name}.json")
    assert human.judge is not None
    mean, judge = agreement.item_means(human.ratings), human.judge
    assert agreement.spearman(judge, mean) == pytest.approx(rho, abs=5e-4)
    assert agreement.kendall(judge, mean) == pytest.approx(tau, abs=5e-4)
    found = agreement.estimate_over_groups(
        lambda rows: agreement.spearman(judge[rows], mean[rows]), human.prompts, resamples=500
    )
    assert [found.low, found.high] == pytest.approx([low, high], abs=0.012)


def test_zero_is_no_rating(tmp_path: Path) -> None:
    entry = {
        "prompt_en": "a cat",
        "videos": {"a": "x/a/a cat_2.mp4", "b": "x/b/a cat.mp4"},
        "human_anno": {"a": [1, 0, 3], "b": [2, 2, 2]},
    }
    write_json(tmp_path / "x.json", [entry])
    human = read_annotations(tmp_path / "x.json")
    assert human.keys == (("a cat", 2, "a"), ("a cat", 0, "b"))
    assert agreement.item_means(human.ratings).tolist() == [2, 2]
    assert human.judge is None
    assert human.renamed({"a cat": "17"}).keys[0] == ("17", 2, "a")


@pytest.mark.parametrize(
    "content", [{}, [{"prompt_en": "x"}], [{"prompt_en": "x", "videos": {}, "human_anno": {"a": [1]}}]]
)
def test_a_file_of_another_form_is_said(tmp_path: Path, content: object) -> None:
    write_json(tmp_path / "x.json", content)
    if content == {}:
        assert read_annotations(tmp_path / "x.json").keys == ()
        return
    with pytest.raises(DataError, match="no annotation file"):
        read_annotations(tmp_path / "x.json")


def test_tables_of_ratings(tmp_path: Path) -> None:
    lines = ["prompt_id,model,rater,quality", "1,a,x,3", "1,a,y,4", "1,b,x,", "1,b,y,0", "2,a,y,5"]
    (tmp_path / "r.csv").write_text("\n".join(lines) + "\n")
    human = read_ratings(tmp_path / "r.csv", "quality")
    found = dict(zip(human.keys, human.ratings.tolist(), strict=True))
    assert found[("1", 0, "a")] == [3, 4]
    assert np.isnan(found[("1", 0, "b")]).all()
    assert found[("2", 0, "a")][1] == 5
    (tmp_path / "r.jsonl").write_text('{"prompt_id": 1, "model": "a", "rater": 0, "sample": 2, "quality": 3}\n')
    assert read_ratings(tmp_path / "r.jsonl", "quality").keys == (("1", 2, "a"),)
    with pytest.raises(DataError, match="has no column beauty"):
        read_ratings(tmp_path / "r.csv", "beauty")
    with pytest.raises(DataError, match="does not exist"):
        read_ratings(tmp_path / "missing.csv", "quality")
    (tmp_path / "r.csv").write_text("\n".join([*lines, "2,a,y,4"]) + "\n")
    with pytest.raises(DataError, match="one for each rater and video"):
        read_ratings(tmp_path / "r.csv", "quality")


def test_fetv_ratings_are_as_counted(shared_data: Path) -> None:
    human = read_ratings(shared_data / "fetv" / "ratings.tsv", "temporal_quality")
    assert human.ratings.shape == (8796 // 3, 3)
    assert not np.isnan(human.ratings).any()


def test_one_video_is_rated_once() -> None:
    with pytest.raises(DataError, match="same prompt, sample and model"):
        HumanRatings((("1", 0, "a"), ("1", 0, "a")), np.ones((2, 3)))
