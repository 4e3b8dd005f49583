from pathlib import Path

import pytest

from sensorium.core.errors import ConfigError, UnknownNameError
from sensorium.judging.dimensions import FOLDER, dimension, dimensions, read_dimension
from sensorium.judging.prompts import suite


def test_the_nine_with_scale_family_protocol_and_folder() -> None:
    table = [(d.id, d.family, d.low, d.high, d.folder_name, d.protocol) for d in dimensions()]
    text, few, joint, chain = "video-text consistency", "few-shot-static", "few-shot-joint", "chain-of-query"
    assert table == [
        ("imaging_quality", "static", 1, 5, text, few),
        ("aesthetic_quality", "static", 1, 5, text, few),
        ("temporal_consistency", "dynamic", 1, 5, "action", joint),
        ("motion_effects", "dynamic", 1, 5, "action", joint),
        ("video_text_consistency", "alignment", 1, 5, text, chain),
        ("object_class", "alignment", 1, 3, "object_class", chain),
        ("color", "alignment", 1, 3, "color", chain),
        ("action", "alignment", 1, 3, "action", chain),
        ("scene", "alignment", 1, 3, "scene", chain),
    ]
    assert len(list(FOLDER.glob("*.yaml"))) == 9


def test_the_scene_rubric_speaks_of_scenes() -> None:
    """The released lowest scene anchor is a copy of the colour rubric's."""
    scene = dimension("scene")
    assert "scene" in scene.anchors[1].lower()
    assert "colo" not in (scene.criteria + " ".join(scene.anchors.values())).lower()
    texts = [anchor for one in dimensions() for anchor in one.anchors.values()]
    assert len(set(texts)) == len(texts)


def test_aliases_and_the_nearest_name() -> None:
    for alias in ("video-text consistency", "overall_consistency"):
        assert dimension(alias).id == "video_text_consistency"
    with pytest.raises(UnknownNameError, match="did you mean 'imaging_quality'"):
        dimension("imagin_quality")
    with pytest.raises(ConfigError, match="'video_text_consistency' is named twice"):
        dimensions(["overall_consistency", "video_text_consistency"])


def test_a_new_dimension_is_one_file(tmp_path: Path) -> None:
    text = (
        "id: calm\nfamily: static\nhigh: 2\nversion: '1'\nprotocol: direct\ncriteria: Is it calm?\n"
        "anchors: {1: restless, 2: calm}\n"
    )
    (tmp_path / "calm.yaml").write_text(text)
    calm = dimension(str(tmp_path / "calm.yaml"))
    assert (calm.id, calm.levels, calm.folder_name) == ("calm", [1, 2], "calm")
    assert all(prompt.is_for(calm) is False for prompt in suite())  # the suite says what its prompts are for
    for wrong, told in (
        (text.replace("2: calm", "3: calm"), "anchors has levels"),
        (text.replace("high: 2", "high: 1"), "not above low"),
        (text.replace("direct", "chain-of-query"), "needs the focus"),
        (text.replace("criteria", "criterion"), "unknown key"),
    ):
        (tmp_path / "calm.yaml").write_text(wrong)
        with pytest.raises(ConfigError, match=told):
            read_dimension(tmp_path / "calm.yaml")
