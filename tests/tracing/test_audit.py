"""The audit passes what is sound, and finds a model that leaks, a protocol that leaks, and a blind probe."""

from typing import Any, ClassVar

import pytest

from sensorium.cli import main
from sensorium.core import registry
from sensorium.core.config import to_yaml
from sensorium.tracing import audit as auditing
from sensorium.tracing.audit import audit
from sensorium.tracing.base import GROUP, TracerInfo, TracingBatch, TracingOutput
from sensorium.tracing.data.dataset import TracingDataset
from sensorium.tracing.models.dkt import DKT


def tree(data: TracingDataset, **changes: Any) -> dict[str, Any]:
    return {
        "kind": "trace",
        "data": {"dataset": str(data.root)},
        "model": {"name": "dkt", "dim": 12, "ema": 0.0},
        "training": {"epochs": 5, "device": "cpu", "batch_size": 16, "optimizer": {"lr": 1e-2}},
    } | changes


@pytest.mark.parametrize("model", [None, "bestlr"])
def test_sound_models_pass(learners: TracingDataset, model: str | None) -> None:
    found = audit(tree(learners) if model is None else tree(learners, model=model))
    assert found.passed, found.lines()
    assert [check.name for check in found.checks] == [
        "random labels", "copy probe", "causality", "padding", "split", "identity",
    ]  # fmt: skip
    assert found.probe_auc > 0.55
    assert abs(found.random_auc - 0.5) < 0.035


class _Peeking(DKT):
    """Sees the answer that it predicts."""

    info: ClassVar[TracerInfo] = TracerInfo(summary="peeks", citation="none")

    def forward(self, batch: TracingBatch) -> TracingOutput:
        output = super().forward(batch)
        return TracingOutput(output.logit + 4.0 * (batch.response - 0.5))


def test_a_model_that_peeks_fails(learners: TracingDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    with registry.registered(GROUP, "peeking", _Peeking):
        found = audit(tree(learners, model={"name": "peeking", "dim": 8}))
    failed = {check.name for check in found.checks if not check.passed}
    assert failed == {"random labels", "causality"}
    assert found.random_auc > 0.9


def test_the_expanded_protocol_fails_and_the_command_says_so(
    learners: TracingDataset, tmp_path: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "trace.yaml"
    file.write_text(to_yaml(tree(learners, model={"name": "dkt", "dim": 12, "difficulty": "none", "ema": 0.0})))
    monkeypatch.setattr(auditing, "_tolerance", lambda response: 0.02)
    assert main(["trace", "audit", str(file), "--set", "protocol=pykt-expanded", "--set", "training.patience=0"]) == 1
    told = capsys.readouterr().out
    assert "FAILED  random labels" in told
    assert "passed  split" in told


def test_a_probe_that_finds_nothing_fails(learners: TracingDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditing, "planted_copies", lambda answers: answers)
    found = audit(tree(learners, model="irt"))
    failed = {check.name: check.detail for check in found.checks if not check.passed}
    assert set(failed) == {"copy probe"}
    assert "would not see a leak" in failed["copy probe"]
