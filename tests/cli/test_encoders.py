"""encode by encoders with weights, shards, neighbours; encoders prepare; list encoders."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sensorium.core.registry import names, registered
from sensorium.data.dataset import Dataset
from sensorium.data.schema import Source
from sensorium.data.store import write_tables

from .conftest import Command

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "encoders"))

from tiny_encoder import TinyText

GROUP = "sensorium.encoders"


@pytest.fixture(autouse=True)
def tiny() -> Iterator[None]:
    with registered(GROUP, "tiny-text", TinyText):
        yield


@pytest.fixture
def films(tmp_path: Path) -> Path:
    root = tmp_path / "films"
    root.mkdir()
    ids = np.arange(600, dtype=np.int32)
    titles: list[str | None] = [f"title {item % 7} word {item}" for item in range(600)]
    titles[3], titles[9] = None, "BROKEN title"
    write_tables(
        root,
        name="films",
        source=Source(reader="test"),
        interactions=pl.DataFrame({"user": np.zeros(600, dtype=np.int32), "item": ids}),
        items=pl.DataFrame({"item": ids, "item_id": [f"f{item}" for item in ids], "title": titles}),
        users=pl.DataFrame({"user": np.zeros(1, dtype=np.int32), "user_id": ["u"]}),
    )
    return root


def test_encode_says_what_it_did(command: Command, films: Path) -> None:
    said = command("encode", films, "--encoder", "tiny-text", "--layers", "0,2", "--workers", "0")
    assert said.status == 0
    assert "text: 600 items, 598 present, 1 rejected, 598 encoded in" in said.err
    assert "items/s" in said.err
    assert "RANDOM weights: untrained" in said.err
    assert "598 of 600" in said.out
    assert Dataset.open(films).info.features["text"].provenance["layers"] == [0, 2]  # type: ignore[index]
    said = command("encode", films, "--encoder", "tiny-text", "--layers", "0,2", "--workers", "0")
    assert "text: up to date" in said.err


def test_shards_by_the_command_line(command: Command, films: Path) -> None:
    words = ["encode", films, "-e", "tiny-text", "--workers", "0"]
    assert "encode --shard 0/n" in command(*words, "--merge").err
    assert command(*words, "--shard", "0/2").status == 0
    assert "encode --shard 1/2 first" in command(*words, "--merge").err
    assert "shard 1/2 of text-tiny-text-" in command(*words, "--shard", "1/2").err
    assert command(*words, "--merge").status == 0
    assert Dataset.open(films).features("text").present.sum() == 598


def test_tokens_of_one_layer(command: Command, films: Path) -> None:
    said = command("encode", films, "-e", "tiny-text", "--pooling", "none", "--workers", "0")
    assert "name it, as in --layers 12" in said.err
    words = ["encode", films, "-e", "tiny-text", "--pooling", "none", "--layers", "2", "--workers", "0"]
    assert command(*words, "--name", "tokens").status == 0
    assert Dataset.open(films).info.features["tokens"].provenance["pooling"] == "none"  # type: ignore[index]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--layers", "a"], "'all', or numbers"),
        (["--layers", "9"], "no layer 9"),
        (["--shard", "2/2"], "as in 0/2 and 1/2"),
        (["--pooling", "cls"], "encoder.pooling: unknown key"),
        (["--weights", "hub"], "encoder.weights: unknown key"),
        (["--split", "random_per_user"], "learns nothing from a split"),
    ],
)
def test_wrong_options_are_one_line(command: Command, films: Path, words: list[str], message: str) -> None:
    said = command("encode", films, "-e", "tiny-text", *words)
    assert said.status == 2
    assert message in said.err


def test_options_of_one_encoder_need_its_name(command: Command, films: Path) -> None:
    assert "--layers is for one encoder: name it with --encoder" in command("encode", films, "--layers", "0").err
    assert "is fitted" in command("encode", films, "-e", "tfidf-svd", "--layers", "0").err


def test_neighbours_and_their_page(command: Command, films: Path, tmp_path: Path) -> None:
    assert "has no features yet" in command("encode", films, "--neighbours", "f5").err
    command("encode", films, "-e", "tiny-text", "--workers", "0")
    command("encode", films, "-e", "tfidf-svd", "--name", "words")
    said = command("encode", films, "--neighbours", "f5,f3", "-k", "4", "--out", tmp_path / "page.html")
    assert said.status == 0
    assert "f5 by text (tiny-text)" in said.out
    assert "f5 by words (tfidf-svd)" in said.out
    assert "f3 by text: item 'f3' of films has no 'text'" in said.out
    page = (tmp_path / "page.html").read_text()
    assert "Random weights" in page
    assert "text: tiny-text" in page
    said = command("encode", films, "-e", "tiny-text", "--workers", "0", "--neighbours", "f5")
    assert "words" not in said.out
    assert (films / "neighbours.html").is_file()
    assert "did you mean" in command("encode", films, "--neighbours", "f5x").err


def test_prepare(command: Command) -> None:
    said = command("encoders", "prepare", "tiny-text")
    assert said.status == 0
    assert "tiny-text: RANDOM weights" in said.out
    assert "is fitted: it has no weights" in command("encoders", "prepare", "tfidf-svd").err
    assert "not read from packages" in command("encoders", "prepare", "tiny-text", "--from", "x.whl").err
    assert "did you mean 'tiny-text'" in command("encoders", "prepare", "tiny-txt").err


def test_list_shows_what_each_takes(command: Command) -> None:
    said = command("list", "encoders")
    assert said.status == 0
    (row,) = [line for line in said.out.splitlines() if line.startswith("tiny-text")]
    for part in ("An embedding and two layers", "text", "3 x 8", "none", "yes"):
        assert part in row
    head = said.out.splitlines()[0]
    for column in ("reads", "layers", "vector", "to fetch", "parameters", "licence", "runs now", "what changes that"):
        assert column in head


def test_a_list_opens_no_connection_and_loads_no_weights() -> None:
    """EN-8: sockets are blocked, weight files are not opened, no library that would run a model is imported."""
    program = """
import socket, sys
def refuse(*_, **__): raise AssertionError("a connection was opened")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
opened = []
sys.addaudithook(lambda event, arguments: opened.append(str(arguments[0])) if event == "open" else None)
from sensorium.cli import main
assert main(["list", "encoders"]) == 0
wrong = [name for name in opened if name.endswith((".safetensors", ".onnx", ".pth", ".gguf", ".bin"))]
assert not wrong, wrong
heavy = {"torch", "transformers", "tokenizers", "timm", "onnx", "gguf", "av"} & set(sys.modules)
assert not heavy, heavy
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    listed = [line.split()[0] for line in done.stdout.splitlines()[1:]]
    assert listed == [name for name in names(GROUP) if name != "tiny-text"]
