"""The weights that are shipped: whole, small, made of training seeds alone, and described as the documents say."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

from sensorium.core.files import sha256_file
from sensorium.lifting.prior import ViewPrior
from sensorium.lifting.prior import view_prior as module
from sensorium.lifting.prior.objects import GENERATOR_VERSION, TRAINING_SEEDS
from sensorium.lifting.prior.pool import render_views

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def prior() -> ViewPrior:
    return ViewPrior.shipped()


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("prior_benchmark", ROOT / "benchmarks" / "prior.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def test_the_file_is_the_one_of_its_card_and_small(prior: ViewPrior) -> None:
    path = Path(module.__file__).parent / "weights" / module.SHIPPED
    assert sha256_file(path) == prior.card["sha256"]
    assert path.stat().st_size <= 20_000_000
    assert prior.card["generator"] == GENERATOR_VERSION
    assert prior.card["parameters"] == sum(weight.numel() for weight in prior.network.parameters())


def test_no_evaluated_seed_lies_among_those_that_were_trained_on(prior: ViewPrior, benchmark: ModuleType) -> None:
    trained = [phase["seeds"] for phase in prior.card["training"]["phases"]]
    assert all(first in TRAINING_SEEDS and last in TRAINING_SEEDS for first, last in trained)
    evaluated = {row["seed"] for row in benchmark.read_rows()} | {benchmark.chosen(n)[0] for n in range(200)}
    assert not any(first <= seed <= last for first, last in trained for seed in evaluated)


def test_it_knows_views_better_than_chance_and_heeds_its_conditions(prior: ViewPrior) -> None:
    pictures, poses = render_views(TRAINING_SEEDS.stop + 1_000_000, 3, 64, "figurine")
    views = pictures.permute(0, 3, 1, 2).float() / 255
    reference = prior.reference(views[0], float(poses[0, 0]))
    noise = torch.randn(2, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    t = torch.full((2,), 0.5)
    noisy = prior.schedule.mix(2 * views[1:] - 1, noise, t)

    def error(known: object, azimuths: torch.Tensor) -> float:
        found = prior.predict(noisy, t, known, poses[1:, 0], azimuths)  # type: ignore[arg-type]
        return float((found - noise).square().mean())

    right = error(reference, poses[1:, 1])
    assert right < 0.5  # of noise with variance 1
    stranger = prior.reference(views[0].flip(1), float(poses[0, 0]))
    assert error(stranger, poses[1:, 1]) != pytest.approx(right, rel=1e-3)
    assert error(reference, poses[1:, 1] + 90) != pytest.approx(right, rel=1e-4)


def test_the_page_tells_the_numbers_of_its_rows_and_of_the_card(prior: ViewPrior, benchmark: ModuleType) -> None:
    """Its sentences as well as its tables: how many objects, steps, and steps at 64 pixels."""
    objects, trainings = len(benchmark.read_rows()), [prior.card["training"]]
    before = prior.card.get("begun_from")
    while before is not None:
        trainings.append(before["training"])
        before = before.get("begun_from")
    phases = [phase for training in trainings for phase in training["phases"]]
    steps, fine = (sum(phase["steps"] for phase in phases if phase["side"] >= side) for side in (0, 64))
    page = " ".join(benchmark.PAGES[0].read_text(encoding="utf-8").split())
    assert f"on {objects} procedural objects" in page
    assert f"200 objects were to be judged, {objects} were" in page
    assert f"{steps:,} steps, " in page
    assert f"{fine:,} of the {steps:,} steps were done at 64 pixels" in page


def test_the_rows_are_of_the_shipped_weights_and_fill_the_documents(prior: ViewPrior, benchmark: ModuleType) -> None:
    rows = benchmark.read_rows()
    assert rows
    assert {row["weights"] for row in rows} == {prior.card["sha256"][:16]}
    for path in benchmark.PAGES:
        page = path.read_text(encoding="utf-8")
        assert benchmark.filled(page, rows) == page, path.name
