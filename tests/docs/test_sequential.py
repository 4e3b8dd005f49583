"""docs/sequential.md and docs/microlens.md name commands, options and files as they are; so do the rows' files."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from pydantic_core import PydanticUndefined

from sensorium.cli import app
from sensorium.core.config import build, load_yaml
from sensorium.experiments.config import RunConfig, read_config
from sensorium.recommenders.sequential.sasrec import SASRec
from sensorium.recommenders.towers.building import KINDS
from sensorium.recommenders.towers.end_to_end import EndToEndConfig

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("docs/sequential.md", "docs/microlens.md")
EXAMPLES = sorted((ROOT / "examples" / "microlens").glob("*.yaml"))


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def commands(page: str) -> tuple[list[list[str]], list[list[str]]]:
    """Every `sensorium ...` of a page: in indented lines (up to the explanation beside it), and within sentences."""
    text = text_of(page)
    lines = [re.split(r"\s{2,}", line.strip())[0] for line in re.findall(r"^ {4}(sensorium .*)$", text, re.MULTILINE)]
    mentions = re.findall(r"`(sensorium [^`]+)`", text)
    return [shlex.split(line)[1:] for line in lines], [shlex.split(line)[1:] for line in mentions]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_parses(page: str) -> None:
    """Each flag is one of its command's own; what stands in a line of its own has all arguments, and no other."""
    lines, mentions = commands(page)
    assert len(lines) >= (7 if "sequential" in page else 1)
    for words in [*lines, *mentions]:
        command: Any = typer.main.get_command(app)
        context, rest = command.make_context("sensorium", [], resilient_parsing=True), list(words)
        while getattr(command, "commands", None):
            assert rest, f"{page}: sensorium {' '.join(words)} is a group and no command"
            assert rest[0] in command.commands, f"{page}: there is no command {rest[0]}: sensorium {' '.join(words)}"
            command, rest = command.commands[rest[0]], rest[1:]
        if words in lines:
            command.make_context(command.name, rest, parent=context)  # an unknown flag or a missing argument raises
        flags = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
        unknown = [word for word in rest if word.startswith("-") and word not in flags]
        assert not unknown, f"{page}: sensorium {' '.join(words)}: unknown {unknown}"


def test_the_options_of_every_model_are_those_of_the_table() -> None:
    table = text_of("docs/sequential.md").split("## Options of every model")[1].split("**Losses.**")[0]
    rows = re.findall(r"^\| `(\w+)` \| (\S+) \|", table, re.MULTILINE)
    told = {name: default.strip("`") for name, default in rows}
    shared = {*SASRec.__mro__[1].Config.model_fields}  # type: ignore[attr-defined]
    elsewhere = {"states", "encoders"}  # docs/microlens.md
    assert told.keys() == shared - elsewhere - own_of_recommenders()
    for name, default in told.items():
        value = SASRec.Config.model_fields[name].default
        assert default == ("null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)), name
    for kind in KINDS:
        assert f"`{kind}`" in table, f"the table does not name the tower {kind}"
    for objective in get_args(SASRec.Config.model_fields["objective"].annotation):
        assert f"`{objective}`" in text_of("docs/sequential.md")


def own_of_recommenders() -> set[str]:
    from sensorium.recommenders.base import Recommender

    return set(Recommender.Config.model_fields)


def test_the_options_of_an_encoder_are_those_of_the_table() -> None:
    table = text_of("docs/microlens.md").split("| option of an encoder |")[1].split("\n\n")[0]
    told = dict(re.findall(r"^\| `(\w+)` \| `?(\w+)`? \|", table, re.MULTILINE))
    fields = EndToEndConfig.model_fields
    assert {"tune", "layer", "scaling", "prepared", "workers"} <= told.keys() <= fields.keys()
    for name, default in told.items():
        value = fields[name].default
        assert value is not PydanticUndefined
        assert default == {None: "null", True: "true", False: "false"}.get(value, str(value)), name


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_every_row_says_its_run_and_is_the_published_protocol(file: Path) -> None:
    """Keys are checked by the run's own classes; the protocol that the page states holds for each of them."""
    named = re.findall(r"sensorium run (\S+)", file.read_text(encoding="utf-8"))
    assert all((ROOT / name).is_file() for name in named)
    config = build(RunConfig, load_yaml(file), source=file.name)
    split = config.data.split.tree()
    assert (config.data.dataset, split["name"], split.get("max_len")) == ("microlens-100k", "leave_last_out", 10)
    assert config.evaluation.ks == [5, 10, 20]
    if config.model.target.query_kind == "history":
        assert (config.evaluation.history, config.evaluation.repeat_policy) == ("window", "mask")
        assert config.model.config.length == 10


def test_keys_that_the_pages_name_are_keys() -> None:
    """`data.permute_order: true`, `evaluation.repeat_policy`, `--set training...`: each leads somewhere."""
    encoder = {"encoder": "videomae-base", "tune": "top_k"}
    model = {"name": "sasrec", "tower": "end_to_end", "encoders": {"video": encoder}}
    base = {"data": {"dataset": "x"}, "model": model}
    named = [
        (key, value)
        for page in PAGES
        for key, value in re.findall(r"((?:data|evaluation|training)(?:\.\w+)+)(?:: |=)([\w.-]+)", text_of(page))
    ]
    bare = [key for page in PAGES for key in re.findall(r"`((?:data|evaluation|training)(?:\.\w+)+)`", text_of(page))]
    assert ("data.permute_order", "true") in named
    assert ("training.phases.main.groups.encoder.lr", "5e-5") in named
    for key, value in named:
        read_config(base, [f"{key}={value}"])
    config = read_config(base)
    for key in bare:
        place: Any = config
        for part in key.split("."):
            assert hasattr(place, part), f"{key}: there is no {part}"
            place = getattr(place, part)
