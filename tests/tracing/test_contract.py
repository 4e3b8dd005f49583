"""Every registered tracer keeps the contract; the checks find models that do not."""

from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sensorium.core import registry
from sensorium.testing.subject import ContractError
from sensorium.testing.tracers import check_tracer, tiny_answers
from sensorium.tracing.base import GROUP, NeuralTracer, TracerInfo, TracingBatch, TracingOutput, TracingView
from sensorium.tracing.models.heads import Head, shifted

SMALL = {"dim": 8, "heads": 2, "hidden": 8}
OPTIONS = [
    ("dkt", {"head": "per_concept", "difficulty": "none"}),
    ("dkt", {"layers": 2, "difficulty": "scalar"}),
    ("sakt", {"blocks": 2, "position_scale": 0.0}),
    ("akt", {"blocks": 2, "difficulty": "vector"}),
    ("akt", {"decay": "subtract"}),
    ("simplekt", {"rasch": "both", "decay": "subtract", "position_scale": 0.0}),
    ("simplekt", {"decay": "multiply"}),
    *((name, {"priors": "counts"}) for name in ("dkt", "sakt", "akt", "simplekt", "ukt", "ukt-point")),
    *((name, {"difficulty": "variational", "priors": "bias"}) for name in ("dkt", "sakt", "akt", "simplekt", "ukt")),
    ("bkt", {"several": "mean", "forgets": True, "restarts": 2}),
    ("bestlr", {"c": 0.1}),
]


def small(name: str) -> dict[str, object]:
    fields = registry.get(GROUP, name).Config.model_fields
    return {key: value for key, value in SMALL.items() if key in fields}


@pytest.mark.parametrize("name", registry.names(GROUP))
def test_every_tracer_keeps_the_contract(name: str) -> None:
    outcome = check_tracer(name, small(name))
    assert set(outcome) >= {"causality", "window edges", "padding", "unseen", "state", "identity"}
    assert all(value == "passed" for key, value in outcome.items() if key != "loss")


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_options_keep_the_contract(name: str, options: dict[str, object]) -> None:
    check_tracer(name, small(name) | options)


class _Broken(NeuralTracer):
    """An LSTM in which one thing is wrong."""

    info: ClassVar[TracerInfo] = TracerInfo(summary="broken", citation="none")
    fault: ClassVar[str] = ""

    def __init__(self, view: TracingView, config: NeuralTracer.Config) -> None:
        super().__init__(view, config)
        self.embedding = self.make_embedding(view, config.dim)
        self.lstm = nn.LSTM(config.dim, config.dim, batch_first=True)
        self.head = Head(config.dim, (config.dim,), 0.0)

    def forward(self, batch: TracingBatch) -> TracingOutput:
        x, y, _ = self.embedding(batch)
        states: Tensor = self.lstm(y)[0]
        if self.fault == "causality":
            return TracingOutput(self.head(states, x))  # one index off
        if self.fault == "padding":
            states = states + y.mean(1, keepdim=True) * 0 + (~batch.mask).sum(1)[:, None, None]
        if self.fault == "identity" and self.training:  # draws that no seed decides
            states = states + torch.from_numpy(np.random.default_rng().normal(size=states.shape)).float()
        if self.fault == "unseen":
            x = x / self.embedding.concept.weight.abs().sum(-1)[batch.concepts[batch.question][..., 0]][..., None]
        return TracingOutput(self.head(shifted(states), x))


@pytest.mark.parametrize("fault", ["causality", "padding", "unseen", "identity"])
def test_a_fault_is_found(fault: str) -> None:
    broken = type("Faulty", (_Broken,), {"fault": fault})
    with pytest.raises(ContractError, match=fault):
        check_tracer(broken, {"dim": 8})


def test_without_a_fault_the_same_model_passes() -> None:
    assert check_tracer(_Broken, {"dim": 8})["causality"] == "passed"


def test_the_tiny_data_hold_questions_of_three_concepts() -> None:
    answers = tiny_answers()
    sizes = (answers.concepts[:-1] < answers.n_concepts).sum(1)
    assert int(sizes.max()) == 3
    assert np.isclose(answers.concept_weight[:-1].sum(1), 1).all()
    assert float(answers.concept_weight[-1].sum()) == 0
    assert torch.equal(answers.concepts[-1], torch.full((3,), answers.n_concepts))
