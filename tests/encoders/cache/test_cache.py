"""What one encode leaves on the disk, and how it is read."""

from collections.abc import Callable

import numpy as np
import pytest
import tiny_encoder
import torch

from sensorium.core.errors import ConfigError, DataError, RunError
from sensorium.core.files import read_json, read_npy, read_parquet
from sensorium.core.rundir import RunDirectory
from sensorium.data.dataset import Dataset
from sensorium.encoders.cache.job import Options
from sensorium.encoders.cache.states import StaleCache, open_states
from sensorium.encoders.encode import encode
from sensorium.encoders.protocol import FoundationEncoder, Preparer
from sensorium.experiments.finished import describe_origin

from .conftest import arrays, cache_of, tiny_image, tiny_text, words

Catalogue = Callable[..., Dataset]
HERE = Options(workers=0)


def direct(encoder: tiny_encoder.TinyText, text: str) -> tuple[np.ndarray, np.ndarray]:
    """The states of one text, alone in its batch."""
    encoder.load()
    with torch.inference_mode():
        states, pooled = encoder.forward(encoder.collate([encoder.preparer(text)]))
    return states[0].numpy(), pooled[0].numpy()


def test_tiny_encoders_follow_the_protocol() -> None:
    for component in (tiny_text(), tiny_image()):
        encoder = component.target(component.config)
        encoder.load()
        assert isinstance(encoder, FoundationEncoder)
        assert isinstance(encoder.preparer, Preparer)


def test_layout_of_the_arrays(catalogue: Catalogue) -> None:
    texts = [*words(300), None, "  "]
    dataset = encode(catalogue(title=texts), tiny_text(), options=HERE)
    folder = cache_of(dataset)
    states, pooled = read_npy(folder / "states.npy"), read_npy(folder / "pooled.npy")
    assert states.dtype == np.float16
    assert states.shape == (302, 3, 8)
    assert pooled.shape == (302, 8)
    assert read_npy(folder / "present.npy").tolist() == [True] * 300 + [False] * 2
    assert not states[300:].any()
    assert not pooled[300:].any()
    assert read_npy(folder / "scale.npy").tolist() == [1, 1, 1]
    digests = read_npy(folder / "digest.npy")
    assert digests.shape == (302, 16)
    assert (digests[300] == digests[301]).all()
    assert len(np.unique(digests, axis=0)) == len({text for text in texts if text and text.strip()}) + 1
    with (folder / "states.npy").open("rb") as handle:
        assert np.lib.format.read_magic(handle) == (1, 0)
    encoder = tiny_encoder.TinyText(tiny_encoder.TinyText.Config())
    for item in (0, 7, 150, 299):
        expected, vector = direct(encoder, texts[item])
        assert np.allclose(states[item], expected, atol=2e-3)
        assert np.allclose(pooled[item], vector, atol=2e-3)


def test_manifest_says_what_it_is(catalogue: Catalogue) -> None:
    texts = [*words(40), None, "BROKEN thing", " ".join(["long"] * 20), "HOLLOW"]
    dataset = encode(catalogue(title=texts), tiny_text(), options=HERE)
    folder = cache_of(dataset)
    manifest = read_json(folder / "manifest.json")
    truncated = sum(len(text.split()) > 12 for text in texts if text)
    assert manifest["complete"] is True
    assert manifest["counts"] == {
        "present": 41, "absent": 2, "truncated": truncated, "partial": 0, "rejected": 1, "rejected_undecodable": 1,
    }  # fmt: skip
    assert folder.name == f"text-tiny-text-{manifest['key'][:8]}"
    assert manifest["layers"] == [0, 1, 2]
    assert manifest["untrained"] is True
    assert manifest["facts"]["preprocessing"]["fields"] == ["title"]
    states, present = read_npy(folder / "states.npy").astype(np.float64), read_npy(folder / "present.npy")
    assert np.allclose(manifest["mean_norm"], np.linalg.norm(states[present], axis=2).mean(0))
    assert np.allclose(manifest["max_abs"], np.abs(states).max((0, 2)))
    rejected = read_parquet(folder / "rejected.parquet").to_dicts()
    assert rejected == [
        {"item": 41, "item_id": "i41", "field": "title", "path": "", "reason": "undecodable",
         "detail": "it says so itself"}
    ]  # fmt: skip
    run = RunDirectory.open(folder)
    assert run.kind == "encode"
    assert run.result is not None
    assert run.result["untrained"] is True
    for name in ("plan.json", "rows.npy", "done.npy", "rejected.jsonl", "patch"):
        assert not (folder / name).exists()


def test_features_are_read_as_given_ones(catalogue: Catalogue) -> None:
    dataset = encode(catalogue(title=[*words(20), None]), tiny_text(), options=HERE)
    x, present = dataset.features("text")
    assert x.dtype == np.float32
    assert x.shape == (21, 8)
    assert present.sum() == 20
    provenance = dataset.info.features["text"].provenance
    assert describe_origin(provenance) == "tiny-text of title, RANDOM WEIGHTS: untrained"
    assert provenance["encoder"] == "tiny-text"
    assert provenance["untrained"] is True
    with open_states("text", dataset=dataset) as states:
        assert (states.pooled()[0] == x).all()


def test_pictures_of_two_widths(catalogue: Catalogue) -> None:
    from PIL import Image

    from sensorium.media.images import write_image

    dataset = catalogue(image=[f"{item}.png" for item in range(40)])
    for item in range(40):
        write_image(dataset.root / f"{item}.png", Image.new("RGB", (9, 7), (item * 6, 100, 250 - item * 6)))
    dataset = encode(dataset, tiny_image(), options=HERE)
    with open_states("image", dataset=dataset) as states:
        x, present = states.take(torch.arange(1, 41))
        assert states.layer_dims == (4, 6)
        assert present.all()
        assert not x[:, 0, 4:].any()
        assert x[:, 1].any()


def test_take_speaks_tokens(catalogue: Catalogue) -> None:
    dataset = encode(catalogue(title=[*words(30), None]), tiny_text(), options=HERE)
    folder = cache_of(dataset)
    stored = read_npy(folder / "states.npy").astype(np.float32)
    for resident in ("auto", "never", "device"):
        with open_states(folder, resident=resident) as states:  # type: ignore[arg-type]
            x, present = states.take([5, 0, 31, 2, 5, 5])
            assert x.shape == (6, 3, 8)
            assert x.dtype == torch.float32
            assert present.tolist() == [True, False, False, True, True, True]
            assert (x[0].numpy() == stored[4]).all()
            assert (x[3].numpy() == stored[1]).all()
            assert (x[0] == x[4]).all()
            assert not x[1].any()
            assert not x[2].any()
            some, _ = states.take([5, 2], layers=[2, 0])
            assert (some[0].numpy() == stored[4][[2, 0]]).all()
            with pytest.raises(DataError, match="tokens are 0 to 31"):
                states.take([32])
            with pytest.raises(DataError, match="no layer 7"):
                states.take([1], layers=[7])
            empty, none = states.take(torch.empty(0, dtype=torch.int64))
            assert empty.shape == (0, 3, 8)
            assert none.shape == (0,)


def test_noise_without_content_changes_nothing(catalogue: Catalogue) -> None:
    dataset = encode(catalogue(title=[*words(30), None, None]), tiny_text(), options=HERE)
    folder = cache_of(dataset)
    with open_states(folder) as states:
        before = states.take(range(33))
        features = states.pooled()[0]
    for name, noise in (("states.npy", np.inf), ("pooled.npy", 3e4)):
        array = np.load(folder / name, mmap_mode="r+")
        array[30] = noise
        array[31] = -noise
        array.flush()
    with open_states(folder) as states:
        after = states.take(range(33))
        assert torch.equal(before[0], after[0])
        assert torch.equal(before[1], after[1])
        assert (states.pooled()[0] == features).all()


def test_layers_and_tokens(catalogue: Catalogue) -> None:
    texts = [*words(300), None]
    dataset = catalogue(title=texts)
    everything = cache_of(encode(dataset, tiny_text(), options=HERE))
    some = cache_of(encode(dataset, tiny_text(), options=Options(workers=0, layers=(2, 0)), name="some"), "some")
    assert read_json(some / "manifest.json")["layers"] == [0, 2]
    assert (read_npy(some / "states.npy") == read_npy(everything / "states.npy")[:, [0, 2]]).all()

    options = Options(workers=0, layers=(2,), tokens=True)
    tokens = encode(dataset, tiny_text(), options=options, name="tokens")
    with open_states("tokens", dataset=tokens) as states, open_states(everything) as pooled:
        x, present = states.take(range(302))
        mask = states.token_mask(range(302))
        assert x.shape == (302, 12, 8)
        assert mask.sum(1).tolist() == [0, *[min(12, len(text.split())) for text in words(300)], 0]
        assert not x[~mask].any()
        mean = x.sum(1) / mask.sum(1, keepdim=True).clamp(min=1)
        assert torch.allclose(mean[present], pooled.take(range(302), layers=[2])[0][present, 0], atol=3e-3)
        assert np.allclose(states.pooled()[0], mean[1:].numpy(), atol=3e-3)
        with pytest.raises(DataError, match="pooled over tokens"):
            pooled.token_mask([1])
    with pytest.raises(ConfigError, match="no layer 9"):
        encode(dataset, tiny_text(), options=Options(layers=(9,)))
    with pytest.raises(ConfigError, match="name it"):
        encode(dataset, tiny_text(), options=Options(tokens=True))


# --- scale ------------------------------------------------------------------------------------------------------------


def test_planted_scale_survives(catalogue: Catalogue) -> None:
    """A layer that reaches 1e6 is stored with a relative error below 1e-3; layers beside it are not touched."""
    texts = words(400)
    dataset = encode(catalogue(title=texts), tiny_text(planted=1e6), options=HERE)
    folder = cache_of(dataset)
    factors = read_npy(folder / "scale.npy")
    assert factors[0] == factors[2] == 1
    assert factors[1] > 1
    assert np.log2(factors[1]) % 1 == 0
    encoder = tiny_encoder.TinyText(tiny_encoder.TinyText.Config(planted=1e6))
    with open_states(folder) as states:
        x, _ = states.take(range(1, 401))
    for item in (0, 99, 399):
        expected = direct(encoder, texts[item])[0][1]
        assert np.abs(x[item, 1].numpy() - expected).max() < 1e-3 * np.abs(expected).max()
    before = x[:, 1].abs().max()
    assert before > 1e5


def test_overflow_after_the_first_chunk_stops_with_layer_and_item(catalogue: Catalogue) -> None:
    texts = [*words(300), "boom ba", *words(5, seed=3)]
    dataset = catalogue(title=texts)
    with pytest.raises(DataError, match=r"layer 2 of item i300 reach 1e\+06.*--headroom 64"):
        encode(dataset, tiny_text(spike="boom"), options=HERE)
    with pytest.raises(DataError, match="incomplete"):
        open_states(next((dataset.root / "features").glob("text-*")))
    encoded = encode(dataset, tiny_text(spike="boom"), options=Options(workers=0, headroom=2e6))
    with open_states("text", dataset=encoded) as states:
        assert float(states.take([301])[0][0, 2, 0]) == pytest.approx(1e6, rel=1e-3)


def test_overflow_in_a_later_run_and_a_new_headroom(catalogue: Catalogue) -> None:
    encoded = encode(catalogue(title=words(300)), tiny_text(spike="boom"), options=HERE)
    old = arrays(cache_of(encoded))
    dataset = catalogue(title=[*words(300), "boom ba"])
    with pytest.raises(DataError, match="item i300"):
        encode(dataset, tiny_text(spike="boom"), options=HERE)
    folder = next((dataset.root / "features").glob("text-*"))
    assert arrays(folder) == old  # the old state is whole
    encoded = encode(dataset, tiny_text(spike="boom"), options=Options(workers=0, headroom=2e6))
    fresh = catalogue("fresh", title=[*words(300), "boom ba"])
    again = encode(fresh, tiny_text(spike="boom"), options=Options(workers=0, headroom=2e6))
    assert arrays(cache_of(encoded)) == arrays(cache_of(again))


def test_infinite_states_are_set_aside(catalogue: Catalogue) -> None:
    dataset = catalogue(title=["ba do", "nan ki", "lu me"])
    encoded = encode(dataset, tiny_text(spike="nan", spike_size=1e39), options=HERE)
    assert encoded.features("text").present.tolist() == [True, False, True]
    rejected = read_parquet(cache_of(encoded) / "rejected.parquet")
    assert rejected["reason"].to_list() == ["non_finite"]
    assert "layer 2" in rejected["detail"][0]
    before = tiny_encoder.TinyText.forwarded
    encode(encoded, tiny_text(spike="nan", spike_size=1e39), options=HERE)
    assert tiny_encoder.TinyText.forwarded == before  # a model does not change its mind


# --- batches ----------------------------------------------------------------------------------------------------------


def test_batches_keep_to_the_budget_and_are_sorted(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[list[int]] = []
    collate = tiny_encoder.TinyText.collate

    def watched(self: tiny_encoder.TinyText, items: list) -> dict:
        sizes.append([item.length for item in items])
        return collate(self, items)

    monkeypatch.setattr(tiny_encoder.TinyText, "collate", watched)
    encode(catalogue(title=words(300)), tiny_text(), options=HERE)
    assert sum(map(len, sizes)) == 300
    assert all(max(lengths) * len(lengths) <= 64 for lengths in sizes)
    first = [length for lengths in sizes for length in lengths][:256]
    assert first == sorted(first)


@pytest.mark.parametrize("order", ["alone", "reversed", "padded"])
def test_neighbours_in_the_batch_change_nothing(catalogue: Catalogue, order: str) -> None:
    """EN-4: within 1e-4 of each layer's largest value."""
    texts = words(64)
    encoder = tiny_encoder.TinyText(tiny_encoder.TinyText.Config())
    encoder.load()
    encoded = encode(catalogue(title=texts), tiny_text(), options=HERE)
    with open_states("text", dataset=encoded) as states:
        stored, _ = states.take(range(1, 65))
    with torch.inference_mode():
        if order == "alone":
            other = torch.stack([torch.from_numpy(direct(encoder, text)[0]) for text in texts])
        elif order == "reversed":
            other = encoder.forward(encoder.collate([encoder.preparer(text) for text in texts[::-1]]))[0].flip(0)
        else:
            batch = encoder.collate([encoder.preparer(text) for text in texts])
            batch["ids"] = torch.nn.functional.pad(batch["ids"], (0, 100))
            other = encoder.forward(batch)[0]
    bar = stored.abs().amax((0, 2)) * (1e-4 + 2**-11)  # and the rounding of fp16
    assert ((stored - other).abs().amax((0, 2)) <= bar).all()


def test_memory_that_does_not_hold_a_chunk_decodes_twice(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = arrays(cache_of(encode(catalogue(title=words(300)), tiny_text(), options=HERE)))
    monkeypatch.setattr("sensorium.encoders.cache.chunks.KEPT_BYTES", 2_000)
    assert arrays(cache_of(encode(catalogue("small", title=words(300)), tiny_text(), options=HERE))) == reference


# --- opening ----------------------------------------------------------------------------------------------------------


def test_stale_in_every_part(catalogue: Catalogue) -> None:
    dataset = encode(catalogue(title=words(20), description=words(20, seed=1)), tiny_text(), options=HERE)
    open_states("text", dataset=dataset).close()
    with pytest.raises(StaleCache, match=r"20 items differ .*preprocessing.max_tokens \(12, now 9\)") as caught:
        open_states("text", dataset=dataset, encoder=tiny_text(max_tokens=9))
    assert caught.value.count == 20
    assert caught.value.keys == ("i0", "i1", "i2", "i3", "i4")
    with pytest.raises(StaleCache, match=r"20 items differ .*weights \("):
        open_states("text", dataset=dataset, encoder=tiny_text(seed=1))
    with pytest.raises(StaleCache, match=r"preprocessing.fields"):
        open_states("text", dataset=dataset, fields=["title"])
    titles = words(20)
    titles[7] = "something else"
    changed = catalogue(title=titles, description=words(20, seed=1))
    folder = next((dataset.root / "features").glob("text-*"))
    with pytest.raises(StaleCache, match=r"1 items differ \(i7\) in content") as caught:
        open_states(folder, dataset=changed)
    assert caught.value.keys == ("i7",)
    more = catalogue(title=[*words(20), "one more"], description=[*words(20, seed=1), None])
    with pytest.raises(StaleCache, match=r"1 items differ \(i20\) in content and the number of items"):
        open_states(folder, dataset=more)
    open_states(folder).close()  # what it is can still be looked at


def test_stale_picture_resolution(catalogue: Catalogue) -> None:
    from PIL import Image

    from sensorium.media.images import write_image

    dataset = catalogue(image=["a.png"])
    write_image(dataset.root / "a.png", Image.new("RGB", (9, 9), (1, 2, 3)))
    dataset = encode(dataset, tiny_image(), options=HERE)
    with pytest.raises(StaleCache, match=r"preprocessing.side \(8, now 16\)"):
        open_states("image", dataset=dataset, encoder=tiny_image(side=16))
    write_image(dataset.root / "a.png", Image.new("RGB", (9, 9), (3, 2, 1)))
    with pytest.raises(StaleCache, match=r"\(i0\) in content"):
        open_states("image", dataset=dataset)


def test_damaged_arrays_are_refused(catalogue: Catalogue) -> None:
    dataset = encode(catalogue(title=words(30)), tiny_text(), options=HERE)
    folder = cache_of(dataset)
    for name in ("states.npy", "pooled.npy", "present.npy", "digest.npy"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:-10])
        with pytest.raises(DataError, match=name):
            open_states(folder)
        (folder / name).write_bytes(content)
    content = bytearray((folder / "digest.npy").read_bytes())
    content[-1] ^= 1
    (folder / "digest.npy").write_bytes(bytes(content))
    with pytest.raises(DataError, match="not what the manifest says"):
        open_states(folder)
    with pytest.raises(DataError, match="does not exist"):
        open_states(dataset.root / "features" / "nothing")


def test_fitted_features_are_no_hidden_states(catalogue: Catalogue) -> None:
    dataset = encode(catalogue(title=["red boat", "red tree"]), "tfidf-svd")
    with pytest.raises(DataError, match="no hidden states"):
        open_states("text", dataset=dataset)
    with pytest.raises(ConfigError, match="is fitted"):
        encode(dataset, "tfidf-svd", options=Options(layers=(1,)))


def test_readers_and_the_writer_wait_for_each_other(catalogue: Catalogue) -> None:
    dataset = encode(catalogue(title=words(30)), tiny_text(), options=HERE)
    folder = cache_of(dataset)
    with open_states(folder) as one, open_states(folder) as two:
        assert one.n_items == two.n_items
        with pytest.raises(RunError, match="open for reading"):
            encode(dataset, tiny_text(), options=HERE)
    from sensorium.encoders.cache import locks

    with locks.writing(folder):
        import os

        with pytest.raises(RunError, match=f"being encoded by process {os.getpid()}"):
            open_states(folder)
        with pytest.raises(RunError, match=f"being encoded by process {os.getpid()}"):
            encode(dataset, tiny_text(), options=HERE)
    open_states(folder).close()


def test_up_to_date_loads_nothing(catalogue: Catalogue) -> None:
    dataset = encode(catalogue(title=[*words(30), None]), tiny_text(), options=HERE)
    assert tiny_encoder.TinyText.loads == 1
    before = arrays(cache_of(dataset))
    encode(dataset, tiny_text(), options=HERE)
    assert tiny_encoder.TinyText.loads == 1
    assert tiny_encoder.TinyText.forwarded == 30
    assert arrays(cache_of(dataset)) == before


def test_nothing_to_encode_is_said(catalogue: Catalogue) -> None:
    with pytest.raises(DataError, match="no item has text"):
        encode(catalogue(title=["", "  "]), tiny_text(), options=HERE)
