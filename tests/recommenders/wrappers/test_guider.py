"""GUIDER around backbones: bit for bit the plain one where it must be, never a gradient across, resumed exactly."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sensorium.core import registry
from sensorium.core.config import build
from sensorium.core.errors import ConfigError
from sensorium.core.files import read_safetensors
from sensorium.data.view import TrainView
from sensorium.recommenders.base import Recommender
from sensorium.recommenders.collaborative.lightgcn import LightGCN
from sensorium.recommenders.wrappers.guider import SCORES, TRANSFER, Guider
from sensorium.testing import CHECKS, NotApplicable, subject_of, tiny_view
from sensorium.testing.subject import all_scores, train_for

from .noisy import auc, noisy_view

GROUP = "sensorium.recommenders"
EARLY = {"start": 1, "ramp": 2, "settle": 3, "every": 1}  # calibration that is over within a few epochs


def made(view: TrainView, **config: Any) -> Guider:
    return Guider(view, build(Guider.Config, config, source="test"))


def plain(view: TrainView, name: str, epochs: int) -> Recommender:
    cls = registry.get(GROUP, name)
    model: Recommender = cls(view, build(cls.Config, {}, source="test"))
    train_for(model, view, epochs=epochs)
    return model


def equal(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(value, theirs[name]) for name, value in mine.items())


def backbones() -> list[str]:
    """Every registered model that can be a student, but GUIDER."""
    names = []
    for name in registry.names(GROUP):
        cls = registry.get(GROUP, name)
        if cls.info.trained and hasattr(cls, "set_edge_weight") and "student" not in cls.Config.model_fields:
            with_phases = subject_of(name).build().phases()
            if len(with_phases) == 1:
                names.append(name)
    return names


# --- the plain backbone ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("student", backbones())
@pytest.mark.parametrize("config", [{"calibration": {"mode": "none"}}, {"dbpr": False}], ids=["no weights", "no dbpr"])
def test_with_weights_of_one_and_nothing_to_learn_it_is_the_plain_backbone(
    student: str, config: dict[str, Any]
) -> None:
    """Bit for bit, though a teacher is trained beside it."""
    view = tiny_view(users=20, items=15, rows_per_user=5)
    model = made(view, student=student, distill={"weight": 0.0}, **config)
    train_for(model, view, epochs=3)
    assert equal(model.student, plain(view, student, 3))


def test_a_teacher_changes_nothing_about_the_draws_of_the_student() -> None:
    view = tiny_view()
    models = [
        made(view, student="bm3", teacher=teacher, calibration={"mode": "content"}, distill={"mode": "none"})
        for teacher in ("lightgcn", "bpr")
    ]
    for model in models:
        train_for(model, view, epochs=2)
    assert equal(models[0].student, models[1].student)


@pytest.mark.parametrize("student", [name for name in backbones() if name != "vbpr"])
def test_any_student_keeps_the_contract(student: str) -> None:
    """One, two and three modalities, masks, and the scores of `represent()`."""
    subject = subject_of(Guider, {"student": student, "calibration": EARLY, "distill": {"warm_up": 1}})
    chosen = ("vectors", "state", "determinism", "batch weight", "modalities", "masked content", "edge weight")
    for name in (*chosen, "relabelling"):
        try:
            CHECKS[name](subject)
        except NotApplicable:
            pytest.fail(f"{name} must apply")


@pytest.mark.parametrize("teacher", ["bpr", "selfcf", "lightgcn"])
def test_any_model_that_knows_ids_alone_can_teach(teacher: str) -> None:
    view, _ = noisy_view(users=60, items=40)
    model = made(view, teacher=teacher, calibration=EARLY, distill={"warm_up": 1, "every": 1})
    train_for(model, view, epochs=4)
    assert torch.isfinite(all_scores(model)).all()
    assert float(model.teacher_z.std()) == pytest.approx(1, abs=0.01)


THIRD_PARTY = '''
import torch
from sensorium.nn.losses import bpr
from sensorium.recommenders.base import Backbone, ModelInfo, Recommender, Representations


class Plain(Backbone):
    """Matrix factorisation, as somebody outside would write it."""

    info = ModelInfo(summary="matrix factorisation", citation="nobody")

    class Config(Recommender.Config):
        """No keys."""

    def __init__(self, view, config):
        super().__init__(view, config)
        self.user = self.id_embedding("user", view.user_count, 6)
        self.item = self.id_embedding("item", view.item_count, 6)

    def represent(self):
        return Representations(self.user, self.item)

    def loss(self, batch):
        user, items = self.user[batch.user], self.item
        scores = (user * items[batch.pos]).sum(-1), (user[:, None] * items[batch.neg]).sum(-1)
        return {"ranking": bpr(*scores, batch.weight)}
'''


def test_a_backbone_of_another_package_can_be_student_and_teacher(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one finds it: installed, so that a new process knows it by its entry point."""
    (tmp_path / "another_house.py").write_text(THIRD_PARTY)
    installed = tmp_path / "another_house-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: another-house\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text(f"[{GROUP}]\nplain = another_house:Plain\n")
    monkeypatch.syspath_prepend(tmp_path)
    import another_house

    with registry.registered(GROUP, "plain", another_house.Plain):
        subject = subject_of(
            Guider, {"student": "plain", "teacher": "plain", "calibration": EARLY, "distill": {"warm_up": 1}}
        )
        for name in CHECKS:
            if name == "histories":
                with pytest.raises(NotApplicable):
                    CHECKS[name](subject)
            else:
                CHECKS[name](subject)


# --- weights and losses ---------------------------------------------------------------------------------------------


def trained(view: TrainView, epochs: int = 4, **config: Any) -> Guider:
    model = made(view, **{"calibration": EARLY, "distill": {"warm_up": 1, "every": 1}, **config})
    train_for(model, view, epochs=epochs)
    return model


@pytest.mark.parametrize("distill", ["ot", "pointwise", "kl"])
def test_no_gradient_crosses_between_teacher_and_student(distill: str) -> None:
    view, _ = noisy_view(users=60, items=40)
    model = trained(view, student="lightgcn", distill={"mode": distill, "warm_up": 1, "every": 1}).train()
    teacher, student = model.phases()
    batch = subject_of("bpr", view=view).batch()
    own_loss = student.loss(batch)
    assert {TRANSFER, SCORES} & own_loss.keys()
    torch.stack(list(own_loss.values())).sum().backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is None for parameter in model.teacher.parameters())
    assert all(parameter.grad is not None for parameter in model.student.parameters())
    model.zero_grad(set_to_none=True)
    torch.stack(list(teacher.loss(batch).values())).sum().backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is None for parameter in model.student.parameters())
    assert all(parameter.grad is not None for parameter in model.teacher.parameters())
    ids = [{id(parameter) for parameter in phase.parameters} for phase in (teacher, student)]
    assert not ids[0] & ids[1]


def test_the_student_s_ranking_term_is_weighed_by_w_over_its_mean() -> None:
    view, _ = noisy_view(users=60, items=40)
    model = trained(view, student="lightgcn", distill={"mode": "none"}).train()
    batch = subject_of("bpr", view=view).batch()
    weight = model.weight[batch.row] / model.weight.mean()
    assert float(weight.std()) > 0.05
    wanted = model.student.loss(replace(batch, weight=weight))
    assert float(model.loss(batch)["ranking"]) == pytest.approx(float(wanted["ranking"]), rel=1e-6)
    outer = torch.rand(len(batch), generator=torch.Generator().manual_seed(0))
    both = model.student.loss(replace(batch, weight=weight * outer))
    found = model.loss(replace(batch, weight=outer))
    assert float(found["ranking"]) == pytest.approx(float(both["ranking"]), rel=1e-6)


def test_both_graphs_carry_the_weights_and_an_outer_weight_multiplies_them() -> None:
    view, _ = noisy_view(users=60, items=40)
    model = trained(view, student="lightgcn")
    reference = LightGCN(view, build(LightGCN.Config, {}, source="test")).eval()
    reference.load_state_dict(model.student.state_dict())
    unweighted = all_scores(reference)
    reference.set_edge_weight(model.weight)
    torch.testing.assert_close(all_scores(model), all_scores(reference))
    assert not torch.allclose(all_scores(model), unweighted)
    outer = torch.rand(len(view.user), generator=torch.Generator().manual_seed(0))
    model.set_edge_weight(outer)
    reference.set_edge_weight(outer * model.weight)
    torch.testing.assert_close(all_scores(model), all_scores(reference))


def test_options_switch_parts_off() -> None:
    view, _ = noisy_view(users=60, items=40)
    batch = subject_of("bpr", view=view).batch()

    def terms(**config: Any) -> dict[str, float]:
        model = trained(view, student="lightgcn", **config).train()
        return {name: float(value) for name, value in model.loss(batch).items()}

    assert TRANSFER in terms()
    assert terms(distill={"mode": "none"}).keys() == {"ranking", "reg"}
    assert terms(distill={"mode": "kl", "warm_up": 1}).keys() == {"ranking", "reg", SCORES}
    both = terms(distill={"kl_weight": 0.1, "warm_up": 1})
    assert {TRANSFER, SCORES} <= both.keys()
    weights = trained(view, student="lightgcn", edge_weight=False)
    assert torch.equal(all_scores(weights.student), all_scores(_without_edges(weights, view)))
    flat = trained(view, calibration={"mode": "none"})
    assert flat.calibration is None
    assert float(flat.weight.std()) == 0
    alone = made(view, calibration={"mode": "content"}, distill={"mode": "none"})
    assert [phase.name for phase in alone.phases()] == ["main"]  # nothing comes of a teacher
    assert [phase.name for phase in made(view).phases()] == ["teacher", "main"]


def _without_edges(model: Guider, view: TrainView) -> LightGCN:
    other = LightGCN(view, build(LightGCN.Config, {}, source="test")).eval()
    other.load_state_dict(model.student.state_dict())
    return other


@pytest.mark.parametrize(
    "config",
    [
        {"distill": {"balance": "mgda", "warm_up": 1, "every": 1}},
        {"legacy_weights": True},
        {"calibration": {**EARLY, "hard": True}},
        {"calibration": {**EARLY, "aggregate": "topk"}},
        {"calibration": {**EARLY, "user_prior": 50.0}},
        {"doubtful_negatives": 0.2},
        {"student_weight": False},
    ],
    ids=lambda config: next(iter(config)),
)
def test_every_option_trains(config: dict[str, Any]) -> None:
    view, _ = noisy_view(users=60, items=40)
    model = trained(view, student="lightgcn", **config)
    assert torch.isfinite(all_scores(model)).all()
    assert not equal(model.student, trained(view, student="lightgcn").student)


def test_weights_of_the_released_code_favour_rows_above_the_cut() -> None:
    view, _ = noisy_view(users=60, items=40)
    model = made(view, legacy_weights=True)
    assert model.legacy is not None
    batch = subject_of("bpr", view=view).batch()
    found = model.legacy(batch)
    both = torch.from_numpy(view.features["text"].present & view.features["image"].present)[batch.pos]
    assert not both.all()
    distance = model.legacy.distance[batch.pos]
    low, high = distance[both].min(), distance[both].max()
    above = (distance - low) / (high - low) > 0.7
    assert (found[above | ~both] == 1).all()
    assert (both & above).any()
    assert 0.2 < float(found[both & ~above].mean()) < 0.8


def test_the_transfer_waits_for_the_teacher_and_one_batch_in_so_many_pays() -> None:
    view, _ = noisy_view(users=60, items=40)
    model = made(view, distill={"every": 4})
    generator = torch.Generator()
    paid = []
    subject = subject_of("bpr", view=view)
    batches = [replace(subject.batch(), row=torch.full((64,), 0).index_fill(0, torch.tensor([0]), n)) for n in range(8)]
    model.begin_epoch(0, generator)
    assert TRANSFER not in model.train().loss(batches[0])
    model.begin_epoch(12, generator)
    paid = [float(model.train().loss(batch)[TRANSFER]) > 0 for batch in batches]
    assert paid == [True, False, False, False, True, False, False, False]


def test_recalibration_happens_when_it_is_due_and_reads_the_teacher() -> None:
    view, noise = noisy_view(users=120, items=60)
    model = made(view, calibration={**EARLY, "settle": 1, "every": 2}, distill={"mode": "none"})
    generator, seen = torch.Generator(), []
    for epoch in range(8):
        before = model.weight.clone()
        with torch.no_grad():
            for parameter in model.teacher.parameters():
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
        model.begin_epoch(epoch, generator)
        seen.append(not torch.equal(before, model.weight))
    assert seen == [True, False, False, True, False, False, False, False]  # at 1 the teacher has no say yet
    made_of = model.calibration
    assert made_of is not None
    assert auc(-made_of.content.logit, noise) > 0.65


# --- what cannot be held --------------------------------------------------------------------------------------------


def test_what_cannot_be_held_is_refused_in_one_line() -> None:
    view = tiny_view()
    wrong = {
        "itemknn": ({"student": "itemknn"}, r"model\.student: 'itemknn' is no backbone"),
        "guider": ({"student": {"name": "guider"}}, r"'guider' holds a model itself \(student\).*wrap the other way"),
        "content": ({"teacher": "vbpr"}, r"model\.teacher: 'vbpr' reads item features"),
        "popularity": ({"teacher": "popularity"}, r"model\.teacher: "),
    }
    for config, message in wrong.values():
        with pytest.raises(ConfigError, match=message) as raised:
            made(view, **config)
        assert "\n" not in str(raised.value)


class TwoPhases(LightGCN):
    """A backbone that does two things in turn."""

    def phases(self) -> list[Any]:
        (phase,) = super().phases()
        return [replace(phase, name="one"), replace(phase, name="two")]


def test_a_student_of_several_phases_is_refused() -> None:
    with (
        registry.registered(GROUP, "two-phases", TwoPhases),
        pytest.raises(ConfigError, match=r"model\.student: TwoPhases is trained in 2 phases, and a student has one"),
    ):
        made(tiny_view(), student="two-phases")


# --- kill and resume ------------------------------------------------------------------------------------------------

KILLED = '''
import os, signal, sys
from sensorium.experiments import report
from sensorium.experiments.run import resume, run
from sensorium.recommenders.wrappers.guider import Guider

report.write_report = lambda path: (path / "report.html").write_text("a page")
action, path, world, where = sys.argv[1:5]


def dies(method, at):
    """A method of GUIDER that kills the process at its call number `at`."""
    original, calls = getattr(Guider, method), [0]

    def wrapped(self, *arguments):
        calls[0] += 1
        if calls[0] == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, *arguments)

    setattr(Guider, method, wrapped)


if where != "never":
    name, number = where.split(":")
    dies(name, int(number))
config = {
    "data": {"dataset": world, "split": "column", "noise": {"rate": 0.3}},
    "model": {"name": "guider", "student": {"name": "lightgcn", "dim": 8}, "teacher": {"name": "lightgcn", "dim": 8},
              "calibration": {"start": 1, "ramp": 2, "every": 1, "settle": 3},
              "distill": {"warm_up": 1, "every": 1}, "doubtful_negatives": 0.2, "teacher_batch_size": 200},
    "training": {"epochs": 5, "batch_size": 200, "optimizer": {"lr": 0.05}, "device": "cpu"},
    "evaluation": {"ks": [5], "metrics": ["recall"]}, "selection": "recall@5",
}
run(config, out=path) if action == "run" else resume(path)
'''


def in_a_process(*arguments: str) -> int:
    outcome = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert outcome.returncode in (0, -signal.SIGKILL), outcome.stderr
    return outcome.returncode


@pytest.mark.slow
def test_killed_in_either_phase_or_a_recalibration_it_resumes_to_the_same_numbers(tmp_path: Path) -> None:
    from sensorium.data.features import add_features
    from sensorium.testing.data import tiny_data
    from sensorium.testing.stored import store

    world = store(tiny_data(users=80, items=50, rows_per_user=12), tmp_path / "world")
    add_features(world, "third", np.random.default_rng(0).normal(size=(50, 4)))
    assert in_a_process("run", str(tmp_path / "whole"), str(world.root), "never") == 0
    files = ("metrics.jsonl", "result.json", "per_user.parquet", "lists.parquet")
    state = read_safetensors(tmp_path / "whole" / "weights" / "best.safetensors")
    for where in ("_teacher_loss:15", "loss:16", "_recalibrate:4"):
        path = tmp_path / where.replace(":", "-")
        assert in_a_process("run", str(path), str(world.root), where) == -signal.SIGKILL
        assert not (path / "result.json").exists()
        assert in_a_process("resume", str(path), str(world.root), "never") == 0
        for file in files:
            assert (path / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), (where, file)
        found = read_safetensors(path / "weights" / "best.safetensors")
        assert all(torch.equal(value, found[name]) for name, value in state.items()), where
