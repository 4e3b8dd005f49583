import json
from pathlib import Path

import pytest

from sensorium.core.errors import DataError
from sensorium.judging.dimensions import dimension, dimensions
from sensorium.judging.manifest import describe_gaps, find_videos
from sensorium.judging.prompts import listed_prompts, read_prompts, suite

from .videos import write_manifest

CATS = listed_prompts(["a cat", "a dog, running"])
SCENE = [dimension("scene")]


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")


def test_the_suite_is_that_of_the_paper(shared_data: Path) -> None:
    source = json.loads((shared_data / "video_bench" / "VideoBench_full.json").read_text())
    names = {"overall_consistency": "video_text_consistency"}
    expected = [(one["prompt"], tuple(names.get(d, d) for d in one["dimension"])) for one in source]
    assert [(prompt.text, prompt.dimensions) for prompt in suite()] == expected


def test_the_suite_has_these_many_prompts_for_each_dimension() -> None:
    counts = {d.id: sum(prompt.is_for(d) for prompt in suite()) for d in dimensions()}
    assert len(suite()) == 419
    assert counts == {
        "imaging_quality": 91,
        "aesthetic_quality": 91,
        "temporal_consistency": 78,
        "motion_effects": 78,
        "video_text_consistency": 91,
        "object_class": 79,
        "color": 85,
        "action": 78,
        "scene": 86,
    }
    assert suite()[0].id == "vb001"


def test_the_released_layout_is_found(tmp_path: Path) -> None:
    dunk, swim = "A person is dunking basketball", "A person is marching"
    touch(
        tmp_path,
        f"action/gen3/{dunk}.mp4",
        f"action/gen3/{swim}_0.mp4",
        f"action/gen3/{swim}_2.mp4",
        "action/pika/A  person is\u00a0dunking basketball.mp4",
        "action/pika/notes.txt",
        f"scene/pika/{dunk}.mp4",  # the folder's dimension has no such prompt
    )
    found = find_videos(dimensions(), suite(), root=tmp_path)
    cells = [(video.cell.model, video.cell.prompt, video.cell.sample, video.dimensions) for video in found.videos]
    three = ("temporal_consistency", "motion_effects", "action")
    assert ("gen3", swim, 0, three) in cells
    assert ("gen3", swim, 2, three) in cells
    assert ("gen3", dunk, 0, three) in cells
    assert ("pika", dunk, 0, three) in cells
    assert ("pika", dunk, 0, ()) in cells
    assert len(cells) == 5
    assert found.models == ["gen3", "pika"]


def test_prompts_match_after_unicode_and_whitespace_folding_alone(tmp_path: Path) -> None:
    cafe = listed_prompts(["Ein Café  am\tMeer"])
    touch(tmp_path, "scene/m/Ein Cafe\u0301 am Meer.mp4", "scene/m/ein café am meer_1.mp4")
    found = find_videos(SCENE, cafe, root=tmp_path)
    assert [video.cell.sample for video in found.videos] == [0]
    assert [one.prompt for one in found.unmatched] == ["ein café am meer"]


def test_a_prompt_that_ends_like_a_sample_is_read_as_it_stands(tmp_path: Path) -> None:
    both = listed_prompts(["take_2", "take"])
    touch(tmp_path, "scene/m/take_2.mp4", "scene/m/take_2_1.mp4", "scene/m/take_1.mp4")
    found = find_videos(SCENE, both, root=tmp_path)
    assert sorted((video.cell.prompt, video.cell.sample) for video in found.videos) == [
        ("take", 1),
        ("take_2", 0),
        ("take_2", 1),
    ]


def test_nothing_found(tmp_path: Path) -> None:
    """VJ-6: the three files are named with the nearest prompt each."""
    touch(tmp_path, "scene/m/an alleyy.mp4", "scene/m/beech.mp4", "scene/m/a cafetaria_0.mp4")
    with pytest.raises(DataError) as caught:
        find_videos(dimensions(), suite(), root=tmp_path)
    for name, nearest in (("an alleyy", "Alley"), ("beech", "Beach"), ("a cafetaria_0", "Cafeteria")):
        assert f"{name}.mp4 (nearest prompt: '{nearest}" in str(caught.value)


def test_gaps_are_listed(tmp_path: Path) -> None:
    touch(tmp_path, "scene/a/a cat.mp4", "scene/b/a cat.mp4", "scene/a/a dog, running.mp4", "scene/b/a bird.mp4")
    found = find_videos(SCENE, CATS, root=tmp_path)
    assert found.missing == (("scene", "p002", 0, "b"),)
    unmatched, missing = describe_gaps(found)
    assert "1 files match no prompt" in unmatched
    assert "scene/b/a bird.mp4 (nearest prompt: 'a cat')" in unmatched
    assert missing == "1 cells have no video: scene/p002/0/b"


def test_two_files_of_one_cell_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "scene/a/a cat.mp4", "scene/a/a cat_0.mp4")
    with pytest.raises(DataError, match="are both sample 0 of a for 'a cat'"):
        find_videos(SCENE, CATS, root=tmp_path)


def row(**changes: object) -> dict[str, object]:
    return {"model": "m", "prompt_id": "x", "prompt": "any/thing, however long", "sample": 0, "path": "v.mp4"} | changes


def test_a_manifest_brings_its_own_prompts(tmp_path: Path) -> None:
    """VJ-5: custom prompts, on every dimension."""
    rows = [row(), row(sample="1", path="w.mp4", fps="12.5"), row(prompt_id="y", prompt='"quoted" text', path="z.mp4")]
    found = find_videos(dimensions(), None, manifest=write_manifest(tmp_path / "v.csv", rows))
    assert {video.dimensions for video in found.videos} == {tuple(d.id for d in dimensions())}
    assert [(v.cell.prompt_id, v.cell.sample, v.cell.fps) for v in found.videos] == [
        ("x", 0, None),
        ("x", 1, 12.5),
        ("y", 0, None),
    ]
    assert found.videos[0].cell.path == tmp_path / "v.mp4"
    lines = "".join(json.dumps(one) + "\n" for one in rows)
    (tmp_path / "v.jsonl").write_text(lines)
    assert find_videos(dimensions(), None, manifest=tmp_path / "v.jsonl").videos == found.videos


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([row(path="../outside.mp4")], "lies outside of"),
        ([row(path="/etc/passwd")], "lies outside of"),
        ([row(sample="first")], "line 2: sample is a whole number"),
        ([row(fps="-1")], "fps above 0"),
        ([row(model=" ")], "may not be empty"),
        ([row(), row(prompt="other", path="w.mp4")], "prompt_id 'x' stands for 2 different prompts"),
        ([row(), row(prompt_id="y", path="w.mp4")], "has two ids"),
    ],
)
def test_wrong_rows_are_named(tmp_path: Path, rows: list[dict[str, object]], told: str) -> None:
    with pytest.raises(DataError, match=told):
        find_videos(SCENE, None, manifest=write_manifest(tmp_path / "v.csv", rows))


def test_wrong_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "v.csv").write_text("model,text\nm,x\n")
    with pytest.raises(DataError, match="lacks prompt_id, prompt, sample, path"):
        find_videos(SCENE, None, manifest=tmp_path / "v.csv")
    (tmp_path / "v.jsonl").write_text('{"model": "m"}\n')
    with pytest.raises(DataError, match="line 1 lacks prompt_id"):
        find_videos(SCENE, None, manifest=tmp_path / "v.jsonl")
    with pytest.raises(DataError, match="does not exist"):
        find_videos(SCENE, None, manifest=tmp_path / "w.csv")
    with pytest.raises(DataError, match="is no folder"):
        find_videos(SCENE, CATS, root=tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="another layout needs a manifest"):
        find_videos(SCENE, CATS, root=tmp_path / "empty")


def test_files_of_prompts(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("one\n\n two \n")
    found = read_prompts(tmp_path / "p.txt")
    assert [(prompt.id, prompt.text) for prompt in found] == [("p001", "one"), ("p003", "two")]
    (tmp_path / "p.jsonl").write_text('{"prompt": "x", "dimensions": ["overall_consistency"]}\n')
    assert read_prompts(tmp_path / "p.jsonl")[0].dimensions == ("video_text_consistency",)
    (tmp_path / "p.jsonl").write_text('{"text": "x"}\n')
    with pytest.raises(DataError, match="line 1 is no prompt"):
        read_prompts(tmp_path / "p.jsonl")
    with pytest.raises(DataError, match="two prompts have the same text, 'a cat'"):
        listed_prompts(["a cat", " a  cat"])
