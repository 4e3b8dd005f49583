"""list, config show, doctor."""

import pytest

from sensorium.cli import doctor
from sensorium.cli.catalogue import GROUPS, table
from sensorium.core import registry
from sensorium.core.errors import MissingExtraError
from sensorium.core.registry import Entry

from .conftest import Command


@pytest.mark.parametrize("what", GROUPS)
def test_every_registry_is_listed_with_what_each_part_is(command: Command, what: str):
    said = command("list", what)
    assert said.status == 0
    lines = said.out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == registry.names(GROUPS[what])
    columns, rows = table(what)
    assert all(row[columns.index("what it is")] for row in rows)
    assert all("sensorium" in row[-1] for row in rows)


def test_models_are_listed_with_what_they_need(command: Command):
    columns, rows = table("models")
    by_name = {row[0]: dict(zip(columns, row, strict=True)) for row in rows}
    assert by_name["vbpr"]["features"] == "required"
    assert by_name["itemknn"]["asked by"] == "user or history"
    assert by_name["bpr"]["asked by"] == "user"
    assert by_name["popularity"]["trained"] == "no"
    assert "UAI 2009" in by_name["bpr"]["citation"]


def test_a_part_that_cannot_run_here_hides_no_other(command: Command, monkeypatch: pytest.MonkeyPatch):
    def load(entry: Entry) -> object:
        if entry.name == "bpr":
            raise MissingExtraError("bpr needs the package 'x': pip install 'sensorium[x]'")
        return real(entry)

    real = Entry.load
    monkeypatch.setattr(Entry, "load", load)
    said = command("list", "models")
    assert said.status == 0
    assert "cannot run here: bpr needs the package 'x'" in said.out
    assert "lightgcn" in said.out


def test_names_that_are_not_there(command: Command):
    assert "did you mean 'models'" in command("list", "modles").err
    assert "did you mean 'lightgcn'" in command("config", "show", "lightgnc").err


def test_config_show_lists_every_key(command: Command):
    said = command("config", "show", "bpr")
    (row,) = [line for line in said.out.splitlines() if line.startswith("dim ")]
    assert row.split()[:3] == ["dim", "int", "64"]
    assert "width of the embeddings" in row
    said = command("config", "show", "run")
    for key in ("data.dataset", "training.optimizer.lr", "evaluation.ks", "selection"):
        assert f"\n{key} " in said.out
    assert "It has no keys." in command("config", "show", "recall").out


def test_doctor_says_what_is_here_and_how_to_get_what_is_not(
    command: Command, home: str, shop: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(doctor, "_version", lambda package: None if package == "optuna" else "1.0")
    said = command("doctor")
    assert said.status == 0
    assert "pip install 'sensorium[tune]'" in said.out
    assert "missing: optuna" in said.out
    assert "media     installed" in said.out
    assert "shop" in said.out
    assert "torch" in said.out
    assert "\ndev " not in said.out
    assert "SENSORIUM_DATA      not set" in said.out
    monkeypatch.setenv("SENSORIUM_DATA", "/nowhere/at/all")
    said = command("doctor")
    assert said.status == 0
    assert "/nowhere/at/all, which is not a folder" in said.out


def test_extras_inside_extras_are_followed():
    missing = doctor.missing_packages()
    assert set(missing["media"]) <= set(missing["encoders"])
    assert {"tune", "serve", "lift"} <= set(missing)
