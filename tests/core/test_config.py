"""Configs: what is accepted, and the one line that says what is wrong."""

from pathlib import Path

import pytest
from pydantic import Field

from sensorium.core import registry
from sensorium.core.config import Config, apply_overrides, build, component, describe, dump, load_yaml
from sensorium.core.errors import ConfigError


class Inner:
    class Config(Config):
        layers: int = Field(3, ge=1, description="Propagation steps.")


class Wrapper:
    class Config(Config):
        student: component("toys")  # type: ignore[valid-type]
        weight: float = 0.1


class Evaluation(Config):
    ks: tuple[int, ...] = (5, 10)


class Job(Config):
    model: component("toys")  # type: ignore[valid-type]
    evaluation: Evaluation = Evaluation()
    seed: int = 0


@pytest.fixture(autouse=True)
def _toys():
    with registry.registered("toys", "inner", Inner), registry.registered("toys", "wrapper", Wrapper):
        yield


def error_of(tree: dict) -> str:
    with pytest.raises(ConfigError) as caught:
        build(Job, tree, source="run.yaml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_unknown_key_names_its_full_path_and_the_nearest():
    assert error_of({"model": {"name": "inner", "layer": 2}}) == (
        "run.yaml: model.layer: unknown key; did you mean model.layers?"
    )


def test_unknown_key_inside_a_nested_component():
    message = error_of({"model": {"name": "wrapper", "student": {"name": "inner", "layrs": 2}}})
    assert message == "run.yaml: model.student.layrs: unknown key; did you mean model.student.layers?"


def test_right_key_at_the_wrong_level():
    """CF-1: a key that exists one level deeper is refused with its full path."""
    assert error_of({"model": "inner", "ks": [20]}) == "run.yaml: ks: unknown key; did you mean evaluation.ks?"
    tree = apply_overrides({"model": "inner"}, ["layers=2"])
    assert error_of(tree) == "run.yaml: layers: unknown key; did you mean model.layers?"


def test_unknown_component_lists_what_is_known():
    assert error_of({"model": "iner"}) == (
        "run.yaml: model.name: 'iner' is not in toys; did you mean 'inner'? (known: inner, wrapper)"
    )


@pytest.mark.parametrize(
    ("tree", "where"),
    [
        ({"model": {"name": "inner", "layers": "many"}}, "model.layers"),
        ({"model": {"name": "inner", "layers": 0}}, "model.layers"),
        ({"model": "inner", "evaluation": {"ks": 5}}, "evaluation.ks"),
        ({}, "model"),
        ({"model": {}}, "model.name"),
        ({"model": {"name": "wrapper"}}, "model.student"),
    ],
)
def test_wrong_values_name_their_key(tree: dict, where: str):
    assert error_of(tree).startswith(f"run.yaml: {where}: ")


def test_dump_is_complete_and_builds_again():
    config = build(Job, {"model": {"name": "wrapper", "student": "inner"}}, source="run.yaml")
    tree = dump(config)
    assert tree == {
        "model": {"name": "wrapper", "student": {"name": "inner", "layers": 3}, "weight": 0.1},
        "evaluation": {"ks": [5, 10]},
        "seed": 0,
    }
    assert build(Job, tree, source="again") == config


def test_configs_are_frozen():
    config = build(Job, {"model": "inner"}, source="run.yaml")
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 1


def test_overrides_reach_any_depth_and_leave_the_tree_alone():
    tree = {"model": "inner", "evaluation": {"ks": [5]}}
    changed = apply_overrides(tree, ["model.layers=2", "evaluation.ks=[20, 50]", "seed=7"])
    assert changed == {"model": {"name": "inner", "layers": 2}, "evaluation": {"ks": [20, 50]}, "seed": 7}
    assert tree == {"model": "inner", "evaluation": {"ks": [5]}}


@pytest.mark.parametrize("setting", ["seed", "=3", "seed.deep=3", "a..b=1"])
def test_overrides_that_make_no_sense(setting: str):
    with pytest.raises(ConfigError, match="--set"):
        apply_overrides({"seed": 0}, [setting])


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_yaml_numbers_and_words(tmp_path: Path):
    tree = load_yaml(
        write(tmp_path / "a.yaml", "a: 1e-3\nb: no\nc: 1:30\nd: true\ne: 12\nf: .5\ng: 2020-01-01\nh:\ni: -1.5E+3\n")
    )
    assert tree == {
        "a": 0.001, "b": "no", "c": "1:30", "d": True, "e": 12, "f": 0.5, "g": "2020-01-01", "h": None, "i": -1500.0
    }  # fmt: skip


def test_yaml_duplicate_keys_are_refused(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"a\.yaml: key 'lr' stands twice, on lines 2 and 3"):
        load_yaml(write(tmp_path / "a.yaml", "x: 1\nlr: 1\nlr: 2\n"))


@pytest.mark.parametrize("text", ["a: [1", "- 1\n- 2", "!!python/object/apply:os.system ['true']", ""])
def test_yaml_that_is_no_config(tmp_path: Path, text: str):
    with pytest.raises(ConfigError, match=r"a\.yaml"):
        load_yaml(write(tmp_path / "a.yaml", text))


def test_missing_file_is_one_line(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"absent\.yaml: cannot be read"):
        load_yaml(tmp_path / "absent.yaml")


class Named(Config):
    parts: dict[str, Evaluation] = Field({}, description="by name")


def test_keys_below_a_name_are_found_and_shown():
    assert [row.path for row in describe(Named)] == ["parts.<name>.ks"]
    with pytest.raises(ConfigError) as caught:
        build(Named, {"parts": {"first": {"kss": [5]}}}, source="run.yaml")
    assert str(caught.value) == "run.yaml: parts.first.kss: unknown key; did you mean parts.first.ks?"


def test_describe_lists_every_key():
    rows = {row.path: row for row in describe(Job)}
    assert list(rows) == ["model", "evaluation.ks", "seed"]
    assert (rows["model"].type, rows["model"].default) == ("one of toys", "required")
    assert describe(Inner.Config)[0].meaning == "Propagation steps."
