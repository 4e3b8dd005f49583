"""The audit passes what is sound, and finds a model that leaks, a protocol that leaks, and a blind probe."""

from typing import Any, ClassVar

import pytest
import torch

from sensorium.cli import main
from sensorium.core import registry
from sensorium.core.config import build, to_yaml
from sensorium.tracing import audit as auditing
from sensorium.tracing.audit import audit
from sensorium.tracing.base import GROUP, TracerInfo, TracingBatch, TracingOutput
from sensorium.tracing.config import TraceConfig
from sensorium.tracing.data.dataset import TracingDataset
from sensorium.tracing.models.dkt import DKT
from sensorium.tracing.probing import Moved, causality, moved, padding, places
from sensorium.tracing.setup import TraceSetup, set_up


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
    assert 0.6 <= found.probe_auc < 0.78
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


# --- causality and padding, of models that were not trained ---------------------------------------------------------


class _Faulty(DKT):
    """Has one fault."""

    info: ClassVar[TracerInfo] = TracerInfo(summary="faulty", citation="none")
    fault: ClassVar[str] = ""

    def forward(self, batch: TracingBatch) -> TracingOutput:
        logit = super().forward(batch).logit
        answer = batch.response.float()
        if self.fault == "edge":  # sees its answer in the last row of a full window
            logit = logit + answer * (torch.arange(logit.shape[1]) == 39)
        if self.fault == "saturated":  # moves by far less than 1e-5 as a probability
            logit = logit + 14 + answer
        if self.fault == "content":  # ordinary batches have zeros there
            logit = logit + (answer * ~batch.mask).sum(1, keepdim=True)
        if self.fault == "length":
            logit = logit + 0.001 * batch.mask.shape[1]
        if self.fault == "deaf":
            logit = logit.detach() * 0 + 2e-6 * (answer.cumsum(1) - answer)
        return TracingOutput(logit)


def untrained(data: TracingDataset, fault: str) -> TraceSetup:
    """Return a model with a fault, windows of 40 rows, and 40 test students of 30 to 120 rows."""
    broken = type("Broken", (_Faulty,), {"fault": fault})
    with registry.registered(GROUP, "broken", broken):
        values = tree(data, model={"name": "broken", "dim": 8, "ema": 0.0}, windows={"length": 40, "stride": 20})
        return set_up(build(TraceConfig, values, source="test"), data)


def test_what_has_no_fault_passes_both(learners: TracingDataset) -> None:
    setup = untrained(learners, "")
    assert causality(setup)[0], causality(setup)
    assert padding(setup)[0], padding(setup)
    assert "39, 40, 59, 60" in causality(setup)[1]


@pytest.mark.parametrize("fault", ["edge", "saturated"])
def test_a_leak_at_an_edge_and_one_that_probabilities_hide_are_found(learners: TracingDataset, fault: str) -> None:
    passed, told = causality(untrained(learners, fault))
    assert not passed, told


def test_the_edges_alone_find_the_leak_at_an_edge(learners: TracingDataset) -> None:
    setup = untrained(learners, "edge")
    found: dict[str, Moved] = {name: moved(setup, students, place) for name, students, place in places(setup)}
    assert found["39"].early > 0.5
    assert found["59"].early > 0.5  # the last row of the second window
    assert max(found[name].early for name in ("anywhere", "40", "60")) <= 1e-5


def test_answers_that_change_nothing_worth_the_name_are_not_read(learners: TracingDataset) -> None:
    passed, told = causality(untrained(learners, "deaf"))
    assert not passed, told


@pytest.mark.parametrize("fault", ["content", "length"])
def test_padding_that_is_read_is_found(learners: TracingDataset, fault: str) -> None:
    """KT-3: neither the number of padded cells nor what stands in them."""
    passed, told = padding(untrained(learners, fault))
    assert not passed, told


def test_windows_that_nobody_fills_have_no_edges(few_learners: TracingDataset) -> None:
    setup = set_up(build(TraceConfig, tree(few_learners), source="test"), few_learners)
    passed, told = causality(setup)
    assert passed, told
    assert "nobody tested reaches an edge" in told
