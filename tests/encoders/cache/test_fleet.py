"""Ray Data over chunks gives the bytes of one process."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sensorium.core.errors import DataError, MissingExtraError
from sensorium.data.dataset import Dataset
from sensorium.encoders.cache.job import Options
from sensorium.encoders.encode import encode

from .conftest import arrays, cache_of, tiny_text, words

Catalogue = Callable[..., Dataset]
TEXTS: list[str | None] = [*words(500), None, "BROKEN one", *words(300, seed=1)]


@pytest.fixture(scope="module")
def ray_of_two() -> Iterator[None]:
    ray = pytest.importorskip("ray", reason="ray is not installed (extra scale)")
    pytest.importorskip("ray.data", reason="ray[data] is not installed (extra scale)")
    tests = str(Path(__file__).resolve().parent.parent)
    ray.init(
        num_cpus=3,
        include_dashboard=False,
        log_to_driver=False,
        runtime_env={"env_vars": {"PYTHONPATH": tests, "OMP_NUM_THREADS": "1"}},
    )
    yield
    ray.shutdown()


@pytest.mark.slow
def test_two_actors_give_the_bytes_of_one_process(catalogue: Catalogue, ray_of_two: None) -> None:
    one = encode(catalogue("one", title=TEXTS), tiny_text(), options=Options(workers=0))
    two = encode(catalogue(title=TEXTS), tiny_text(), options=Options(workers=0, actors=2))
    assert arrays(cache_of(two)) == arrays(cache_of(one))
    changed = [f"{text} more" if text else text for text in TEXTS]
    one = encode(catalogue("one", title=changed), tiny_text(), options=Options(workers=0))
    two = encode(catalogue(title=changed), tiny_text(), options=Options(workers=0, actors=2))
    assert arrays(cache_of(two)) == arrays(cache_of(one))


@pytest.mark.slow
def test_an_actors_error_is_said(catalogue: Catalogue, ray_of_two: None) -> None:
    texts = [*words(300), "boom", *words(300)]
    with pytest.raises(DataError, match="layer 2 of item i300"):
        encode(catalogue(title=texts), tiny_text(spike="boom"), options=Options(workers=0, actors=2))


def test_without_ray_the_extra_is_named(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"sensorium\[scale\].*--shard and --merge"):
        encode(catalogue(title=words(300)), tiny_text(), options=Options(workers=0, actors=2))
