"""The small parts: seeds, registry, extras, resources, progress, pages."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sensorium.core import progress, registry
from sensorium.core.errors import MissingExtraError, ResourceError, SensoriumError, UnknownNameError, require
from sensorium.core.pages import write_page
from sensorium.core.resources import available_memory, readable_bytes, readable_seconds, require_memory
from sensorium.core.seeds import catalogue_order, derive, numpy_generator, torch_generator


def test_seeds_depend_on_every_key_and_its_type():
    values = [
        derive(0),
        derive(1),
        derive(0, "a"),
        derive(0, "a", 1),
        derive(0, "a1"),
        derive(0, "a", "1"),
        derive(0, 1, "a"),
    ]
    assert len(set(values)) == len(values)
    assert all(0 <= value < 2**63 for value in values)
    assert derive(0, "phase", 3) == 749940277001111133  # the same on every platform and release: runs must repeat


def test_generators_repeat():
    assert np.array_equal(numpy_generator(3, "x").random(4), numpy_generator(3, "x").random(4))
    first = torch.rand(4, generator=torch_generator(3, "x"))
    assert torch.equal(first, torch.rand(4, generator=torch_generator(3, "x")))


def test_catalogue_order_is_a_permutation_that_knows_no_ids():
    order = catalogue_order(5000, seed=0)
    assert np.array_equal(np.sort(order), np.arange(5000))
    assert abs(np.corrcoef(order, np.arange(5000))[0, 1]) < 0.05
    assert not np.array_equal(order, catalogue_order(5000, seed=1))


def test_unknown_name_shows_the_nearest_and_the_list():
    with pytest.raises(UnknownNameError, match="'lightgcm' is not in recommenders; did you mean 'lightgcn'"):
        registry.get("sensorium.recommenders", "lightgcm")


def test_registered_ends_with_its_block():
    with registry.registered("toys", "a", 1):
        assert registry.get("toys", "a") == 1
        with registry.registered("toys", "a", 2):
            assert registry.get("toys", "a") == 2
        assert registry.get("toys", "a") == 1
    assert registry.names("toys") == []


def test_missing_extra_is_one_line():
    """IN-3: the extra, the command and the alternative."""
    with pytest.raises(MissingExtraError) as caught:
        require("gsplatx.rendering", extra="cuda", purpose="the gsplat back end", instead="use --backend numba")
    assert str(caught.value) == (
        "the gsplat back end needs the package 'gsplatx', which is not installed: "
        "pip install 'sensorium[cuda]'; or use --backend numba"
    )
    assert require("json", extra="none", purpose="a test").dumps({}) == "{}"


def test_memory_that_is_not_there_is_refused_with_both_numbers():
    require_memory(1, "a byte")
    with pytest.raises(ResourceError, match=r"the graph needs about .* TB of memory and .* are free"):
        require_memory(available_memory() + 2**45, "the graph")


@pytest.mark.parametrize(("count", "text"), [(0, "0 bytes"), (1536, "1.5 KB"), (3 * 2**30, "3.0 GB")])
def test_readable_bytes(count: int, text: str):
    assert readable_bytes(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(2.34, "2.3 s"), (42, "42 s"), (75, "1 min 15 s"), (7260, "2 h 01 min")])
def test_readable_seconds(seconds: float, text: str):
    assert readable_seconds(seconds) == text


def test_progress_is_quiet_off_a_terminal(capsys: pytest.CaptureFixture[str]):
    assert list(progress.track(range(3), label="work")) == [0, 1, 2]
    assert capsys.readouterr() == ("", "")


def test_progress_on_a_terminal_shows_count_rate_and_time_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with progress.Progress(4, "encode", every=0) as bar:
        bar.advance(2, rejected=1)
    shown = capsys.readouterr().err
    assert "encode [" in shown
    assert "2/4" in shown
    assert "left" in shown
    assert "rejected=1" in shown


def test_pages_escape_other_peoples_words(tmp_path: Path):
    from sensorium.core import pages

    assert pages._environment().autoescape
    write_page(tmp_path / "a.html", "<script>alert(1)</script>", "core/templates/page.html")
    text = (tmp_path / "a.html").read_text()
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "http" not in text.replace("http-equiv", "")  # nothing is loaded from the network


def test_figures_are_inline_and_repeat():
    import matplotlib.pyplot as plt

    from sensorium.core.pages import figure

    def draw() -> str:
        plot, axes = plt.subplots()
        axes.plot([0, 1], [0, 1])
        return str(figure(plot, description="A line & more"))

    assert draw() == draw()
    assert "A line &amp; more" in draw()
    assert not plt.get_fignums()


def test_errors_share_one_base():
    assert issubclass(MissingExtraError, SensoriumError)
