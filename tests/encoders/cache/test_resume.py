"""Whatever way the work goes, the bytes are the same: killed and continued, by processes, in shards, in parts."""

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_encoder

from sensorium.core.config import Component
from sensorium.core.errors import ConfigError, DataError, RunError
from sensorium.core.files import read_json, read_npy, read_parquet
from sensorium.data.dataset import Dataset
from sensorium.data.store import update_info
from sensorium.encoders.cache import commit, layout
from sensorium.encoders.cache.job import Options
from sensorium.encoders.cache.states import open_states
from sensorium.encoders.cache.target import Target
from sensorium.encoders.encode import encode

from .conftest import arrays, cache_of, tiny_text, words, write_catalogue

Catalogue = Callable[..., Dataset]
HERE = Options(workers=0)
TEXTS: list[str | None] = [*words(250), None, "BROKEN one", *words(300, seed=1), "", *words(150, seed=2)]
CHANGED: list[str | None] = [*TEXTS, "a new item", "and another"]
CHANGED[17] = "a changed title"


class Killed(BaseException):
    """Stands for a kill: nothing catches it, nothing cleans up after it but what the system would."""


def killing(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, at: int, *, after: bool) -> None:
    """Let the call number `at` of a function be the last thing that this process does."""
    real, calls = getattr(owner, name), 0

    def last(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == at and not after:
            raise Killed
        found = real(*arguments, **options)
        if calls == at:
            raise Killed
        return found

    monkeypatch.setattr(owner, name, last)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted first encode."""
    dataset = write_catalogue(tmp_path_factory.mktemp("made") / "shop", title=TEXTS)
    return encode(dataset, tiny_text(), options=HERE).root


@pytest.fixture(scope="module")
def reference(made: Path) -> dict[str, str]:
    """Its bytes."""
    return arrays(cache_of(Dataset.open(made)))


@pytest.fixture(scope="module")
def changed(made: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The bytes after an uninterrupted change."""
    root = shutil.copytree(made, tmp_path_factory.mktemp("changed") / "shop")
    return arrays(cache_of(encode(with_titles(root, CHANGED), tiny_text(), options=HERE)))


def with_titles(root: Path, texts: list[str | None]) -> Dataset:
    """Give an encoded catalogue other texts; what was encoded stays beside them."""
    features = Dataset.open(root).info.features
    write_catalogue(root, title=texts)
    return update_info(root, lambda info: info.model_copy(update={"features": features}))


MOMENTS = [
    (Target, "begin", 1),
    (Target, "put", 1),
    (Target, "put", 2),
    (Target, "put", 3),
    (layout, "flush", 2),
    (layout, "flush", 3),
    (layout, "flush", 6),
    (commit, "write_parquet", 1),
    (commit, "write_json", 1),
    (Target, "sweep", 1),
]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("owner", "name", "at"), MOMENTS, ids=[f"{m[1]}-{m[2]}" for m in MOMENTS])
def test_first_encode_killed_anywhere(
    catalogue: Catalogue,
    reference: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    at: int,
    after: bool,
) -> None:
    dataset = catalogue(title=TEXTS)
    with monkeypatch.context() as patch:
        killing(patch, owner, name, at, after=after)
        with pytest.raises(Killed):
            encode(dataset, tiny_text(), options=HERE)
    assert arrays(cache_of(encode(dataset, tiny_text(), options=HERE))) == reference


def test_chunks_that_are_done_are_not_done_again(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = catalogue(title=TEXTS)
    with monkeypatch.context() as patch:
        killing(patch, Target, "put", 2, after=True)
        with pytest.raises(Killed):
            encode(dataset, tiny_text(), options=HERE)
    tiny_encoder.TinyText.forwarded = 0
    encode(dataset, tiny_text(), options=HERE)
    assert tiny_encoder.TinyText.forwarded == 701 - 2 * 256  # one of them is broken, in chunk 0


def test_content_that_changes_between_kill_and_resume(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    """Items of done chunks that changed are encoded by a patch, others as they now are; new ones are added."""
    dataset = catalogue(title=TEXTS)
    with monkeypatch.context() as patch:
        killing(patch, Target, "put", 1, after=True)
        with pytest.raises(Killed):
            encode(dataset, tiny_text(), options=HERE)
    changed = [*TEXTS, "new one"]
    changed[3], changed[600], changed[400], changed[250], changed[5] = "other", "words", None, "no more absent", None
    encoded = encode(catalogue(title=changed), tiny_text(), options=HERE)
    fresh = encode(catalogue("fresh", title=changed), tiny_text(), options=HERE)
    for one, other in zip(encoded.features("text"), fresh.features("text"), strict=True):
        assert np.allclose(one, other, atol=1e-3)
    open_states("text", dataset=encoded).close()


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_any_number_of_processes(catalogue: Catalogue, reference: dict[str, str], workers: int) -> None:
    dataset = encode(catalogue(title=TEXTS), tiny_text(), options=Options(workers=workers))
    assert arrays(cache_of(dataset)) == reference


def killed_run(root: Path, workers: int, **environment: str) -> int:
    script = Path(__file__).with_name("killable.py")
    process = subprocess.run(
        [sys.executable, str(script), str(root), str(workers)],
        env={**os.environ, **environment},
        capture_output=True,
        timeout=120,
    )
    return process.returncode


def test_kill_nine_within_a_forward(catalogue: Catalogue, reference: dict[str, str]) -> None:
    dataset = catalogue(title=TEXTS)
    assert killed_run(dataset.root, 0, TINY_KILL_AT="60") == -9
    with pytest.raises(DataError, match="incomplete"):
        open_states(next((dataset.root / "features").glob("text-*")))
    assert arrays(cache_of(encode(dataset, tiny_text(), options=HERE))) == reference


@pytest.mark.slow
def test_kill_nine_at_random_moments(catalogue: Catalogue, reference: dict[str, str]) -> None:
    """EN: five kills by the clock, with decoding processes, then to the end."""
    dataset = catalogue(title=TEXTS)
    script = Path(__file__).with_name("killable.py")
    draw = random.Random(7)
    killed = 0
    for _ in range(5):
        process = subprocess.Popen(
            [sys.executable, str(script), str(dataset.root), "2"], env={**os.environ, "TINY_SLEEP": "0.05"}
        )
        time.sleep(draw.uniform(2.5, 7))
        process.kill()
        killed += process.wait() == -9
    assert killed >= 3
    assert arrays(cache_of(encode(dataset, tiny_text(), options=Options(workers=2)))) == reference


# --- shards -----------------------------------------------------------------------------------------------------------


def in_shards(dataset: Dataset, count: int, component: Component | None = None) -> Dataset:
    component = component or tiny_text()
    for index in range(count):
        encode(dataset, component, options=Options(workers=0, shard=(index, count)))
    return encode(dataset, component, options=HERE, merge=True)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_shards_and_merge(catalogue: Catalogue, reference: dict[str, str], count: int) -> None:
    folder = cache_of(in_shards(catalogue(title=TEXTS), count))
    assert arrays(folder) == reference
    assert not (folder / "shards").exists()


def test_shard_by_shard_the_scale_is_the_same(catalogue: Catalogue) -> None:
    component = tiny_text(planted=1e6)
    one = encode(catalogue("one", title=TEXTS), component, options=HERE)
    assert arrays(cache_of(in_shards(catalogue(title=TEXTS), 2, component))) == arrays(cache_of(one))


def test_a_killed_shard_goes_on(
    catalogue: Catalogue, reference: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = catalogue(title=TEXTS)
    with monkeypatch.context() as patch:
        killing(patch, Target, "put", 1, after=True)
        with pytest.raises(Killed):
            encode(dataset, tiny_text(), options=Options(workers=0, shard=(0, 2)))
    with pytest.raises(DataError, match=r"lacks 1 chunks: encode --shard 0/2 again"):
        encode(dataset, tiny_text(), merge=True)
    encode(dataset, tiny_text(), options=Options(workers=0, shard=(0, 2)))
    with pytest.raises(DataError, match=r"holds no shard yet: encode --shard 1/2 first"):
        encode(dataset, tiny_text(), merge=True)
    encode(dataset, tiny_text(), options=Options(workers=0, shard=(1, 2)))
    assert arrays(cache_of(encode(dataset, tiny_text(), merge=True))) == reference


def test_shards_of_another_state_are_refused(catalogue: Catalogue) -> None:
    dataset = catalogue(title=TEXTS)
    for index in (0, 1):
        encode(dataset, tiny_text(), options=Options(workers=0, shard=(index, 2)))
    changed = catalogue(title=[*TEXTS, "one more"])
    with pytest.raises(DataError, match="another state of the catalogue"):
        encode(changed, tiny_text(), merge=True)
    with pytest.raises(ConfigError, match="numbered 0/2 to 1/2"):
        encode(dataset, tiny_text(), options=Options(shard=(2, 2)))
    with pytest.raises(DataError, match="holds shards none"):
        encode(catalogue("other", title=TEXTS), tiny_text(), merge=True)


def test_shards_of_a_change(catalogue: Catalogue) -> None:
    """A change of a catalogue that was encoded before can be sharded as well."""
    changed = [f"{text} more" if text else text for text in TEXTS]
    encode(catalogue("one", title=TEXTS), tiny_text(), options=HERE)
    one = encode(catalogue("one", title=changed), tiny_text(), options=HERE)
    encode(catalogue(title=TEXTS), tiny_text(), options=HERE)
    two = in_shards(catalogue(title=changed), 2)
    assert arrays(cache_of(two)) == arrays(cache_of(one))


# --- changes ----------------------------------------------------------------------------------------------------------


def test_one_forward_for_each_change(catalogue: Catalogue) -> None:
    before = encode(catalogue(title=TEXTS), tiny_text(), options=HERE)
    old = read_npy(cache_of(before) / "states.npy")
    tiny_encoder.TinyText.forwarded = 0
    encoded = encode(catalogue(title=CHANGED), tiny_text(), options=HERE)
    assert tiny_encoder.TinyText.forwarded == 3
    new = read_npy(cache_of(encoded) / "states.npy")
    untouched = np.delete(np.arange(len(TEXTS)), 17)
    assert (new[untouched] == old[untouched]).all()
    assert (new[17] != old[17]).any()
    whole = read_npy(cache_of(encode(catalogue("whole", title=CHANGED), tiny_text(), options=HERE)) / "states.npy")
    assert np.abs(new.astype(np.float32) - whole).max() < 1e-3
    assert encoded.features("text").x.shape == (705, 8)
    manifest = read_json(cache_of(encoded) / "manifest.json")
    assert manifest["items"] == 705
    assert manifest["counts"]["present"] == 702
    tiny_encoder.TinyText.forwarded = 0
    encode(encoded, tiny_text(), options=HERE)
    assert tiny_encoder.TinyText.forwarded == 0


def test_content_that_goes_and_comes(catalogue: Catalogue) -> None:
    encode(catalogue(title=TEXTS), tiny_text(), options=HERE)
    gone = [*TEXTS]
    gone[4], gone[250], gone[251] = None, "now there", "mended"
    encoded = encode(catalogue(title=gone), tiny_text(), options=HERE)
    folder = cache_of(encoded)
    assert read_npy(folder / "present.npy")[[4, 250, 251]].tolist() == [False, True, True]
    assert not read_npy(folder / "states.npy")[4].any()
    assert not len(read_parquet(folder / "rejected.parquet"))
    gone[251] = "BROKEN again"
    encoded = encode(catalogue(title=gone), tiny_text(), options=HERE)
    assert read_parquet(folder / "rejected.parquet")["item"].to_list() == [251]
    assert not read_npy(folder / "states.npy")[251].any()


def test_other_weights_encode_all_anew(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    component = tiny_text()
    folder = cache_of(encode(catalogue(title=TEXTS), component, options=HERE))
    dataset = catalogue(title=TEXTS)
    tiny_encoder.TinyText.forwarded = 0
    encoded = encode(dataset, tiny_text(seed=1), options=HERE)
    assert cache_of(encoded) == folder  # weights are in the digests, not in the name
    assert tiny_encoder.TinyText.forwarded == 700
    assert arrays(folder) == arrays(cache_of(encode(catalogue("fresh", title=TEXTS), tiny_text(seed=1), options=HERE)))


APPLYING = [
    (Target, "begin", 1),
    (Target, "put", 1),
    (layout, "flush", 2),
    (commit, "write_json", 1),
    (commit, "_copy_rows", 1),
    (commit, "_copy_rows", 2),
    (layout, "grow", 1),
    (layout, "grow", 2),
    (commit, "_replace_rows", 1),
    (commit, "_replace_rows", 2),
    (commit, "write_npy", 3),
    (commit, "write_parquet", 1),
    (commit, "write_json", 2),
    (commit, "discard", 1),
    (shutil, "rmtree", 1),
    (shutil, "rmtree", 2),
]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("owner", "name", "at"), APPLYING, ids=[f"{m[1]}-{m[2]}" for m in APPLYING])
def test_change_killed_anywhere(
    made: Path,
    changed: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    at: int,
    after: bool,
) -> None:
    dataset = with_titles(shutil.copytree(made, tmp_path / "shop"), CHANGED)
    folder = cache_of(dataset)
    with monkeypatch.context() as patch:
        killing(patch, owner, name, at, after=after)
        with pytest.raises(Killed):
            encode(dataset, tiny_text(), options=HERE)
    if read_json(folder / "manifest.json")["complete"]:
        open_states(folder).close()  # the old state, or already the new one
    else:
        with pytest.raises(DataError, match="half-way through a change"):
            open_states(folder)
    encoded = encode(dataset, tiny_text(), options=HERE)
    assert arrays(folder) == changed
    assert not (folder / "patch").exists()
    open_states("text", dataset=encoded).close()


def test_another_device_is_refused(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = catalogue(title=TEXTS)
    with monkeypatch.context() as patch:
        killing(patch, Target, "put", 1, after=True)
        with pytest.raises(Killed):
            encode(dataset, tiny_text(), options=Options(workers=0))
    with pytest.raises(RunError, match="was begun on cpu and cannot be continued on meta"):
        encode(dataset, tiny_text(), options=Options(workers=0, device="meta", compute_dtype="float32"))


def test_up_to_date_imports_no_torch(made: Path) -> None:
    """A second call in a process of its own: no model, and not even the library that would run it."""
    program = f"""
import sys
sys.argv = ["killable.py", {str(made)!r}, "0"]
import runpy
runpy.run_path({str(Path(__file__).with_name("killable.py"))!r}, run_name="__main__")
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
