"""Whole lifts of a cube, with guidance that knows it and without any."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

pytest.importorskip("numba")
pytest.importorskip("xatlas")
from sensorium.encoders.lpips import LPIPS
from sensorium.lifting.cloud import GaussianCloud, ball
from sensorium.lifting.contrastive import ContrastiveTerm
from sensorium.lifting.generation import making
from sensorium.lifting.generation.cardboard import THICKNESS, billboard, extrusion
from sensorium.lifting.generation.config import LiftConfig
from sensorium.lifting.generation.making import Shaped
from sensorium.lifting.generation.measures import against_truth, drawer, likeness, measured_poses, reference_likeness
from sensorium.lifting.generation.objective import LiftObjective
from sensorium.lifting.guidance.base import Pose
from sensorium.lifting.guidance.none import NoGuidance
from sensorium.lifting.guidance.oracle import Oracle
from sensorium.lifting.mesh import Mesh
from sensorium.lifting.meshing import measure
from sensorium.lifting.rasterisers import select

from .shapes import ELEVATION, cube, maker

POSES = measured_poses((-20, 15), 4, front=Pose(ELEVATION, 0))


@pytest.fixture(scope="module")
def lpips() -> LPIPS:
    return LPIPS.shipped()


def config(**tree: object) -> LiftConfig:
    return LiftConfig.model_validate({"photo": "cube", "guidance": "none", "preset": "test", **tree})


@pytest.fixture(scope="module")
def shaped(lpips: LPIPS) -> Shaped:
    return maker(config(contrastive={"weight": 100.0}), Oracle(cube), lpips).shape()


def test_guidance_makes_the_other_sides(shaped: Shaped, lpips: LPIPS) -> None:
    """300 Gaussians in 60 steps: an oracle beats no guidance from other sides, and Gaussians multiply."""
    alone = maker(config(), NoGuidance(), lpips).shape()
    known, blind = (
        against_truth(drawer(found.cloud), cube, ELEVATION, lpips, poses=POSES).mean.psnr for found in (shaped, alone)
    )
    assert known > blind + 4
    assert len(shaped.cloud) > 300
    assert set(shaped.facts["loss"]) >= {"rgb", "alpha", "guidance", "grad_norm", "lpips"}


def test_the_second_stage_dresses_it(shaped: Shaped, lpips: LPIPS) -> None:
    made = maker(config(texture={"steps": 12}), Oracle(cube), lpips)
    textured = made.dress(shaped)
    assert textured.meshed.measures.watertight
    before, after = (
        against_truth(drawer(mesh), cube, ELEVATION, lpips, poses=POSES).mean.psnr
        for mesh in (textured.meshed.mesh, textured.mesh)
    )
    assert after > before
    assert (textured.mesh.v == textured.meshed.mesh.v).all()
    undressed = maker(config(texture={"steps": 0}), Oracle(cube), lpips).dress(shaped)
    assert undressed.mesh is undressed.meshed.mesh


def test_lpips_stays_where_results_are_measured(lpips: LPIPS, monkeypatch: pytest.MonkeyPatch) -> None:
    """The optimisation may run elsewhere, with a copy of the perceptual distance."""

    class Begun(BaseException):
        pass

    def begun(cloud: GaussianCloud, objective: LiftObjective, *rest: object, **options: object) -> None:
        assert objective.contrastive is not None
        assert {weight.device.type for weight in objective.contrastive.lpips.parameters()} == {"meta"}
        assert objective.contrastive.anchor.device.type == objective.coverage.device.type == "meta"
        assert cloud.means.device.type == "meta"
        raise Begun

    monkeypatch.setattr(making, "device_of", lambda config: torch.device("meta"))
    monkeypatch.setattr(making, "select", lambda name, device: select())
    monkeypatch.setattr(making, "optimise", begun)
    with pytest.raises(Begun):
        maker(config(contrastive={"weight": 100.0}), Oracle(cube), lpips).shape()
    assert {weight.device.type for weight in lpips.parameters()} == {"cpu"}


def test_all_that_matters_is_told_apart(lpips: LPIPS) -> None:
    """The weights of LPIPS too, not only the name of its network."""
    other = deepcopy(lpips)
    assert maker(config(), NoGuidance(), other).about() == maker(config(), NoGuidance(), lpips).about()
    with torch.no_grad():
        other.heads[4][7] += 1e-6
    made = maker(config(), NoGuidance(), lpips)
    abouts = [
        made.about(),
        maker(config(), NoGuidance(), other).about(),
        maker(config(seed=1), NoGuidance(), lpips).about(),
        maker(config(), Oracle(cube), lpips).about(),
        replace(made, reference=made.reference.flip(1)).about(),
        replace(made, detailed=made.detailed.flip(1)).about(),
    ]
    assert len(set(abouts)) == len(abouts)


def test_the_loss_by_hand(lpips: LPIPS) -> None:
    """Weights, growth with the steps, and who is watched."""
    settings = config(guidance_weight=3.0, sizes={"optimisation": {"iterations": 10}})
    reference, front = cube(Pose(ELEVATION, 0), 64), Pose(ELEVATION, 0)
    cloud, drawer_ = ball(50, seed=0), select()
    term = ContrastiveTerm(reference, front, settings.contrastive, lpips)
    objective = LiftObjective(reference, ELEVATION, Oracle(cube), term, settings, drawer_)
    out = drawer_.render(cloud, front.camera(64), bg=(1, 1, 1))
    error = (out.rgb.movedim(-1, 0) - (reference[:3] + 1 - reference[3:])).square().mean()
    for step, growth in ((0, 0.2), (4, 0.5), (9, 1.0)):
        found = objective(cloud, step)
        torch.testing.assert_close(found.terms["rgb"], 1e4 * growth * error, rtol=1e-5, atol=0)
        assert len(found.watched) == 2
        assert found.watched[0].alpha.shape == (64, 64)
    plain = LiftObjective(reference, ELEVATION, Oracle(cube), None, config(), drawer_)(cloud, 0)
    weighted = LiftObjective(reference, ELEVATION, Oracle(cube), None, config(guidance_weight=3.0), drawer_)(cloud, 0)
    torch.testing.assert_close(weighted.terms["guidance"], 3 * plain.terms["guidance"])
    added = config(guidance_weight="views", novel={"views": 3})
    mean = config(novel={"views": 3})
    three = [LiftObjective(reference, ELEVATION, Oracle(cube), None, one, drawer_)(cloud, 0) for one in (mean, added)]
    torch.testing.assert_close(three[1].terms["guidance"], 3 * three[0].terms["guidance"])
    assert "contrastive" not in plain.terms
    alone = LiftObjective(reference, ELEVATION, NoGuidance(), term, settings, drawer_)(cloud, 5)
    assert list(alone.terms) == ["rgb", "alpha"]
    assert alone.watched[0].alpha.shape == (64, 64)  # the photo's view, since there is no other


def test_likeness(lpips: LPIPS) -> None:
    picture = cube(Pose(ELEVATION, 0), 64)
    same = likeness(picture, picture, lpips)
    assert (same.iou, same.ssim) == (1, pytest.approx(1))
    assert same.psnr > 100
    assert same.lpips < 1e-6
    other = likeness(cube(Pose(ELEVATION, 120), 64), picture, lpips)
    assert other.psnr < 20
    assert other.lpips > 0.1
    assert other.iou < 1


def test_a_front_shown_behind_has_a_janus_index(lpips: LPIPS) -> None:
    front = cube(Pose(ELEVATION, 0), 64)
    janus = against_truth(lambda pose, side: front, cube, ELEVATION, lpips, poses=POSES)
    honest = against_truth(cube, cube, ELEVATION, lpips, poses=POSES)
    assert janus.janus > 0.1 > 0 > honest.janus
    assert honest.behind_psnr > 100
    assert janus.views == len(POSES) == 7


def test_cardboard_shows_the_photo_from_the_front(lpips: LPIPS) -> None:
    reference = cube(Pose(ELEVATION, 0), 64)
    flat, thick = billboard(reference, ELEVATION), extrusion(reference, ELEVATION)
    for mesh in (flat, thick):
        found = reference_likeness(drawer(mesh), reference, ELEVATION, lpips)
        assert found.psnr > 22
        assert found.iou > 0.97
    assert measure(flat).volume == pytest.approx(0, abs=1e-6)
    facts = measure(thick)
    assert facts.winding_consistent
    area = facts.volume / 0.6  # about that of the outline times the width
    assert area > 0.1
    assert THICKNESS == 0.6
    side = drawer(flat)(Pose(0, 90), 64)[3].sum()
    assert side < 0.1 * drawer(thick)(Pose(0, 90), 64)[3].sum()
    assert isinstance(thick.geometry, Mesh)
