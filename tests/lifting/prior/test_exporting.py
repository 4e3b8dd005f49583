"""Exported weights: what the file tells by itself, the same bytes every time, and earlier files that tell less."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from typer.testing import CliRunner

from sensorium.core.errors import ConfigError, DataError
from sensorium.core.files import read_json, read_safetensors, write_json, write_safetensors
from sensorium.lifting.prior import ViewPrior
from sensorium.lifting.prior.__main__ import app
from sensorium.lifting.prior.exporting import encoded, export_weights
from sensorium.lifting.prior.objects import GENERATOR_VERSION
from sensorium.lifting.prior.training import train
from sensorium.lifting.prior.view_prior import CARD, CONVENTIONS, FORMAT, SCHEDULE

from .test_training import CONFIG


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train(folder / "run", CONFIG, pools=folder / "pools", until=8)
    return folder / "run"


def metadata(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as handle:
        return dict(handle.metadata())


def test_the_file_tells_what_is_needed_to_use_it(run: Path, tmp_path: Path) -> None:
    reached = {"psnr": 17.5, "objects": 48}
    path = export_weights(run, tmp_path, reached)
    told = metadata(path)
    assert told.pop("format") == FORMAT
    facts = {name: json.loads(text) for name, text in told.items()}
    assert facts == {
        "network": CONFIG.network.model_dump(mode="json"),
        "schedule": {"name": "cosine", "offset": 0.008},
        "conventions": CONVENTIONS,
        "generator": GENERATOR_VERSION,
        "steps": 8,
        "evaluation": reached,
    }
    assert ViewPrior.from_file(path).facts == facts
    card = read_json(tmp_path / CARD)
    assert card["evaluation"] == reached
    assert {name: card[name] for name in CONVENTIONS} == facts["conventions"]
    assert "evaluation" not in metadata(export_weights(run, tmp_path / "plain"))


def test_the_same_training_gives_the_same_bytes(run: Path, tmp_path: Path) -> None:
    """safetensors alone orders metadata by chance: in five writings of six entries that would show."""
    files = [export_weights(run, tmp_path / str(k), {"psnr": 17.5}).read_bytes() for k in range(5)]
    assert len(set(files)) == 1
    header = json.loads(files[0][8 : 8 + int.from_bytes(files[0][:8], "little")])
    assert list(header["__metadata__"]) == sorted(header["__metadata__"])


def test_a_header_that_is_written_again_keeps_tensors(tmp_path: Path) -> None:
    draw = torch.Generator().manual_seed(0)
    given = {"b": torch.rand(3, 5, generator=draw).half(), "a": torch.rand(7, generator=draw), "c": torch.zeros(0)}
    for told in ({}, {"x": "é"}, {"x": "longer", "a": "2"}):
        (tmp_path / "f.safetensors").write_bytes(encoded(given, told))
        found = read_safetensors(tmp_path / "f.safetensors")
        assert found.keys() == given.keys()
        assert all(torch.equal(found[name], given[name]) for name in given)
        assert metadata(tmp_path / "f.safetensors") == told


def test_earlier_files_tell_less_and_are_read(run: Path, tmp_path: Path) -> None:
    path = export_weights(run, tmp_path)
    weights, network = read_safetensors(path), CONFIG.network.model_dump_json()
    write_safetensors(tmp_path / "old.safetensors", weights, {"network": network, "format": "view-prior 1"})
    old, new = ViewPrior.from_file(tmp_path / "old.safetensors"), ViewPrior.from_file(path)
    assert old.facts == {"network": json.loads(network)}
    assert all(torch.equal(value, new.network.state_dict()[name]) for name, value in old.network.state_dict().items())
    assert ViewPrior.shipped().facts["network"] == ViewPrior.shipped().card["network"]


@pytest.mark.parametrize(
    ("entry", "value", "message"),
    [
        ("schedule", {**SCHEDULE, "offset": 0.01}, r"other\.safetensors.*another schedule.*0\.01.*here.*0\.008"),
        ("conventions", {**CONVENTIONS, "prediction": "eps"}, "another conventions.*'eps'"),
        ("steps", None, "'steps' of its metadata is no JSON"),
    ],
)
def test_weights_for_something_else_are_refused(
    run: Path, tmp_path: Path, entry: str, value: Any, message: str
) -> None:
    path = export_weights(run, tmp_path)
    told = metadata(path) | {entry: "8 steps" if value is None else json.dumps(value)}
    write_safetensors(tmp_path / "other.safetensors", read_safetensors(path), told)
    with pytest.raises(DataError, match=message):
        ViewPrior.from_file(tmp_path / "other.safetensors")


def test_an_evaluation_comes_from_a_file(run: Path, tmp_path: Path) -> None:
    write_json(tmp_path / "reached.json", {"psnr": 12.0})
    options = ["export", str(run), "--into", str(tmp_path / "out"), "--evaluation"]
    done = CliRunner().invoke(app, [*options, str(tmp_path / "reached.json")])
    assert done.exit_code == 0, done.output
    assert read_json(tmp_path / "out" / CARD)["evaluation"] == {"psnr": 12.0}
    write_json(tmp_path / "list.json", [1])
    assert isinstance(CliRunner().invoke(app, [*options, str(tmp_path / "list.json")]).exception, ConfigError)
    with pytest.raises(ConfigError, match="evaluation"):
        export_weights(run, tmp_path / "nan", {"psnr": float("nan")})
    assert not (tmp_path / "nan").exists()
