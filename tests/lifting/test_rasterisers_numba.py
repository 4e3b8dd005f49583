"""The compiled back end: the contract, the garden, the same bits in every run, its cache on disk."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sensorium.core.errors import ConfigError
from sensorium.core.seeds import numpy_generator
from sensorium.lifting.camera import from_opencv, orbit
from sensorium.lifting.cloud import GaussianCloud, from_points
from sensorium.testing.rasterisers import check_rasteriser, check_reference, random_cloud, random_view

pytest.importorskip("numba")
from sensorium.lifting.rasterisers.numba_cpu import NumbaRasteriser


def test_it_keeps_the_contract() -> None:
    outcome = check_rasteriser("numba", seeds=(0,), counts=(1, 300))
    assert set(outcome.values()) == {"passed"}


@pytest.mark.slow
def test_it_keeps_the_whole_contract() -> None:
    assert len(check_rasteriser("numba")) == 25


@pytest.mark.slow
def test_the_garden_looks_the_same_from_its_three_views(shared_data: Path) -> None:
    """Stretched and turned at random, since round Gaussians have no gradient of rotation but rounding."""
    with np.load(shared_data / "image3d" / "gsplat_test_garden.npz") as garden:
        chosen = numpy_generator(0, "garden").choice(len(garden["means3d"]), 5000, replace=False)
        cloud = from_points(garden["means3d"][chosen], garden["colors"][chosen] / 255.0, opacity=0.9)
        views = [from_opencv(garden["viewmats"][i], garden["Ks"][i], 420, 648) for i in range(3)]
    stretched = random_cloud(5000, 0)
    spread = stretched.log_scales - stretched.log_scales.mean()
    tensors = {**cloud.tensors(), "log_scales": cloud.log_scales + spread, "quats": stretched.quats}
    cloud = GaussianCloud(**tensors)
    for view in views:
        check_reference(NumbaRasteriser(), "cpu", cloud, view.resized(210, 324))


def picture_and_gradients(threads: int) -> list[torch.Tensor]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        leaves = random_cloud(800, 3).leaves()
        out = NumbaRasteriser().render(leaves, random_view(3, 60, 70), bg=(1, 1, 1), want=("rgb", "alpha", "depth"))
        assert out.depth is not None
        (out.rgb.square().sum() + out.alpha.sum() + out.depth.sum()).backward()
        gradients = [value.grad for value in leaves.tensors().values()]
        return [out.rgb.detach(), out.alpha.detach(), *(value for value in gradients if value is not None)]
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2])
def test_every_run_has_the_same_bits(threads: int) -> None:
    first, second = picture_and_gradients(threads), picture_and_gradients(threads)
    assert len(first) == 7
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


def test_gradients_under_the_cap_stop_and_opaque_layers_hide_what_is_behind() -> None:
    """In the middle of a wide Gaussian of opacity .999 alpha is capped: nothing there moves it. A second one would
    leave less light than 1e-4, so the walk ends before it."""
    parts = from_points(np.array([[0.0, 0, -0.1 * i] for i in range(6)])).tensors()
    parts |= {"log_scales": torch.full((6, 3), math.log(2.0)), "opacity_logit": torch.full((6,), 7.0)}
    cloud = GaussianCloud(**parts).leaves()
    out = NumbaRasteriser().render(cloud, orbit(0, 0, 2, height=8, width=8), bg=(0, 0, 0))
    assert out.alpha[4, 4].item() == pytest.approx(0.99, abs=1e-6)
    out.alpha[4, 4].backward()
    assert cloud.opacity_logit.grad is not None
    assert cloud.opacity_logit.grad.abs().sum() == 0


def test_other_types_than_float32_are_refused() -> None:
    with pytest.raises(ConfigError, match="float32"):
        NumbaRasteriser().render(random_cloud(3, 0).to(torch.float64), random_view(0, 8, 8), bg=(0, 0, 0))


@pytest.mark.slow
def test_a_second_process_takes_the_compiled_code_from_the_cache(tmp_path: Path) -> None:
    script = (
        "import torch\n"
        "from sensorium.lifting.rasterisers import numba_kernels as kernels, select\n"
        "assert select('numba').name == 'numba'\n"
        "names = ('pack', 'count_tiles', 'list_tiles', 'blend', 'blend_backward', 'gather')\n"
        "print(sum(sum(getattr(kernels, name).stats.cache_hits.values()) for name in names),\n"
        "      sum(sum(getattr(kernels, name).stats.cache_misses.values()) for name in names))\n"
    )
    environment = {**os.environ, "SENSORIUM_HOME": str(tmp_path)}
    environment.pop("NUMBA_CACHE_DIR", None)
    counts = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        )
        counts.append(tuple(map(int, done.stdout.split())))
    assert counts == [(0, 6), (6, 0)]
    assert any((tmp_path / "cache" / "numba").rglob("*.nbi"))
