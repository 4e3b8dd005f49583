"""Sensorium's tracers: training on one row per question, windows of like length together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from worker import Task, serve

from sensorium.data.batches import Step
from sensorium.tracing.base import TracingView, build_tracer
from sensorium.tracing.data.dataset import Answers, concept_table
from sensorium.tracing.data.windows import WindowBatches, training_windows
from sensorium.tracing.models.akt import AKT
from sensorium.tracing.models.simplekt import SimpleKT
from sensorium.tracing.ukt.model import UKT

SIZE = {"dim": 256, "heads": 4, "hidden": 256, "dropout": 0.1, "ema": 0.0}
MODELS = {
    "simplekt": (SimpleKT, {**SIZE, "blocks": 2}),
    "ukt": (UKT, {**SIZE, "blocks": 2, "encoder": "none", "joint": 0.0, "decay": "multiply"}),
    "akt": (AKT, {**SIZE, "blocks": 1}),
}


def answers_of(data: Mapping[str, Any]) -> Answers:
    n_questions, n_concepts = (int(number) for number in data["size"])
    table, weight = concept_table(data["link_question"], data["link_concept"], n_questions, n_concepts)
    offsets = np.concatenate([[0], np.cumsum(data["length"])]).astype(np.int64)
    question, response = data["question"].astype(np.int32), data["response"].astype(np.int8)
    return Answers(offsets, question, response, None, table, weight, n_concepts, True)


def view_of(answers: Answers) -> TracingView:
    return TracingView(
        answers.n_questions,
        answers.n_concepts,
        True,
        answers.concepts,
        answers.concept_weight,
        answers.offsets,
        answers.question,
        answers.response,
    )


def training(name: str) -> Any:
    def prepare(data: Mapping[str, Any], asked: Mapping[str, Any]) -> Task:
        torch.set_num_threads(asked["threads"])
        answers = answers_of(data)
        cls, keys = MODELS[name]
        model = build_tracer(cls, view_of(answers), cls.Config(**keys)).train()
        windows = training_windows(answers.lengths, np.arange(answers.n_students), 200)
        batches = WindowBatches(answers, windows, size=64)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        epoch = [batches.batch(Step(seed=0, phase="answers", epoch=0, index=index)) for index in range(len(batches))]
        fill = sum(int(batch.mask.sum()) for batch in epoch) / sum(batch.mask.numel() for batch in epoch)
        epoch.sort(key=lambda batch: batch.mask.shape[1])
        steps = min(asked["our_steps"], len(epoch))  # short and long windows in the shares that an epoch has
        chosen = [epoch[int((place + 0.5) * len(epoch) / steps)] for place in range(steps)]
        rows = sum(int(batch.mask.sum()) for batch in chosen)

        def work() -> Mapping[str, float]:
            for batch in chosen:
                optimizer.zero_grad()
                torch.stack(list(model.loss(batch).values())).sum().backward()
                optimizer.step()
            return {"fill": fill, "batches": steps}

        return Task(work, rows)

    return prepare


if __name__ == "__main__":
    serve({name: training(name) for name in MODELS}, ("torch",))
