"""pyKT: training on one row per concept, chunks of 200 rows padded to 200, the loss in double, as its own script does.

AKT is the package's own class. The release on PyPI has neither simpleKT nor UKT: both are written here at their
published sizes and with what costs time in the released code (questions projected twice, as query and as key; the
2-Wasserstein distance as two products with broadcasts; spreads through every layer; distances of the decay without a
gradient).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from pykt.models.akt import AKT
from torch import Tensor, nn
from torch.nn import functional
from worker import Task, serve

DIM, HEADS, HIDDEN, LENGTH, BATCH, DROPOUT = 256, 4, 256, 200, 64, 0.1


def expanded(data: Mapping[str, Any]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Return chunks of 200 rows, one row per concept: question, concept, response, mask, first row of its question."""
    order = np.lexsort((data["link_concept"], data["link_question"]))
    concepts = data["link_concept"][order]
    size = np.bincount(data["link_question"], minlength=int(data["size"][0]))
    begin = np.cumsum(size) - size
    times = size[data["question"]]
    place = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
    question = np.repeat(data["question"], times)
    rows = {"q": question, "c": concepts[begin[question] + place], "r": np.repeat(data["response"], times)}
    rows["first"] = place == 0
    student = np.repeat(np.repeat(np.arange(len(data["length"])), data["length"]), times)
    within = np.arange(len(student)) - np.searchsorted(student, student)
    change = np.concatenate([[True], (student[1:] != student[:-1]) | (within[1:] % LENGTH == 0)])
    chunk = np.cumsum(change) - 1
    found = []
    for name in ("q", "c", "r", "first"):
        table = np.zeros((chunk[-1] + 1, LENGTH), dtype=np.int64)
        table[chunk, within % LENGTH] = rows[name]
        found.append(torch.from_numpy(table))
    mask = np.zeros((chunk[-1] + 1, LENGTH), dtype=bool)
    mask[chunk, within % LENGTH] = True
    q, c, r, first = found
    return q, c, r, torch.from_numpy(mask), first.bool()


class Embedding(nn.Module):
    def __init__(self, questions: int, concepts: int) -> None:
        super().__init__()
        self.concept, self.variation = nn.Embedding(concepts, DIM), nn.Embedding(concepts, DIM)
        self.response, self.deviation = nn.Embedding(2, DIM), nn.Embedding(questions + 1, DIM)

    def forward(self, q: Tensor, c: Tensor, r: Tensor, deviation: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = self.concept(c)
        moved = (self.deviation(q) if deviation is None else deviation) * self.variation(c)
        return x + moved, self.response(r) + x + moved


def positions() -> Tensor:
    place = torch.arange(LENGTH)[:, None] * torch.exp(torch.arange(0, DIM, 2) * (-math.log(10000.0) / DIM))
    return torch.stack([place.sin(), place.cos()], dim=-1).flatten(1)


def heads(x: Tensor) -> Tensor:
    return x.view(x.shape[0], -1, HEADS, DIM // HEADS).transpose(1, 2)


class Layer(nn.Module):
    """One layer of the two; with spreads it is UKT's, without it is simpleKT's."""

    def __init__(self, *, spread: bool) -> None:
        super().__init__()
        self.spread = spread
        streams = 2 if spread else 1
        self.key, self.value, self.out = (nn.ModuleList(nn.Linear(DIM, DIM) for _ in range(streams)) for _ in range(3))
        self.up = nn.ModuleList(nn.Linear(DIM, HIDDEN) for _ in range(streams))
        self.down = nn.ModuleList(nn.Linear(HIDDEN, DIM) for _ in range(streams))
        self.norm, self.last = nn.LayerNorm(DIM), nn.LayerNorm(DIM)
        self.drop = nn.Dropout(DROPOUT)
        self.gamma = nn.Parameter(torch.zeros(HEADS, 1, 1))

    def forward(self, x: list[Tensor], y: list[Tensor], past: Tensor) -> list[Tensor]:
        queries = [heads(key(one)) for key, one in zip(self.key, x)]  # noqa: B905
        keys = [heads(key(one)) for key, one in zip(self.key, x)]  # noqa: B905 - the same map once more, as released
        values = [heads(value(one)) for value, one in zip(self.value, y)]  # noqa: B905
        scores = self._distance(queries, keys) if self.spread else queries[0] @ keys[0].transpose(-1, -2)
        scores = scores / math.sqrt(DIM // HEADS)
        if self.spread:
            scores = self._decayed(scores, past)
        weights = functional.softmax(scores.masked_fill(~past, -1e32), dim=-1)
        weights = torch.cat([torch.zeros_like(weights[:, :, :1]), weights[:, :, 1:]], dim=2)
        weights = self.drop(weights)
        shares = [weights, weights.square()]
        passed = [share @ value for share, value in zip(shares, values)]  # noqa: B905
        result = []
        for place, one in enumerate(passed):
            joined = self.out[place](one.transpose(1, 2).reshape(x[place].shape))
            moved = self.norm(x[place] + self.drop(joined))
            result.append(self.last(moved + self.drop(self.down[place](self.drop(self.up[place](moved).relu())))))
        return result

    def _distance(self, queries: list[Tensor], keys: list[Tensor]) -> Tensor:
        (mq, cq), (mk, ck) = queries, keys
        means = -2 * mq @ mk.transpose(-1, -2) + mq.square().sum(-1)[..., :, None] + mk.square().sum(-1)[..., None, :]
        roots = cq.clamp(min=1e-24).sqrt() @ ck.clamp(min=1e-24).sqrt().transpose(-1, -2)
        return -(means - 2 * roots + cq.sum(-1)[..., :, None] + ck.sum(-1)[..., None, :])

    def _decayed(self, scores: Tensor, past: Tensor) -> Tensor:
        with torch.no_grad():
            belief = functional.softmax(scores.masked_fill(~past, -1e32), dim=-1) * past
            remaining = belief.sum(-1, keepdim=True) - belief.cumsum(-1)
            place = torch.arange(LENGTH)
            gap = (place[:, None] - place[None]).abs().float()
            distance = (remaining * gap).clamp(min=0).sqrt()
        return scores * (-functional.softplus(self.gamma) * distance).exp().clamp(1e-5, 1e5)


class Attention(nn.Module):
    def __init__(self, questions: int, concepts: int, *, spread: bool) -> None:
        super().__init__()
        self.embedding = Embedding(questions, concepts)
        self.spreads = Embedding(questions, concepts) if spread else None
        self.layers = nn.ModuleList(Layer(spread=spread) for _ in range(2))
        width = (4 if spread else 2) * DIM
        self.out = nn.Sequential(
            *(nn.Linear(width, 256), nn.ReLU(), nn.Dropout(DROPOUT)),
            *(nn.Linear(256, 256), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(256, 1)),
        )
        self.register_buffer("place", positions())
        self.register_buffer("past", torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril(-1))

    def forward(self, q: Tensor, c: Tensor, r: Tensor) -> Tensor:
        x, y = self.embedding(q, c, r)
        xs, ys, before = [x + self.place], [y + self.place], [x]
        if self.spreads is not None:
            spread, answered = self.spreads(q, c, r, self.embedding.deviation(q))
            before.append(spread)
            xs.append(functional.elu(spread + self.place) + 1)
            ys.append(functional.elu(answered + self.place) + 1)
        for layer in self.layers:
            xs = layer(xs, ys, self.past)
        return self.out(torch.cat([*xs, *before], dim=-1)).squeeze(-1).sigmoid()


def training(name: str) -> Any:
    def prepare(data: Mapping[str, Any], asked: Mapping[str, Any]) -> Task:
        torch.set_num_threads(asked["threads"])
        torch.manual_seed(0)
        questions, concepts = (int(number) for number in data["size"])
        q, c, r, mask, first = expanded(data)
        if name == "akt":
            akt = AKT(concepts, questions, DIM, 1, DROPOUT, d_ff=HIDDEN, final_fc_dim=256, num_attn_heads=HEADS).float()

            def predict(rows: Tensor) -> tuple[Tensor, Tensor | float]:
                return akt(c[rows], r[rows], q[rows])

            model: nn.Module = akt
        else:
            model = Attention(questions, concepts, spread=name == "ukt")

            def predict(rows: Tensor) -> tuple[Tensor, Tensor | float]:
                return model(q[rows], c[rows], r[rows]), 0.0

        model.train()
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        generator = torch.Generator().manual_seed(0)
        order = torch.randperm(len(q), generator=generator)[: asked["steps"] * BATCH].split(BATCH)
        counted = mask.clone()
        counted[:, 0] = False
        rows_of_questions = int(sum((first & mask)[rows].sum() for rows in order))

        def work() -> Mapping[str, float]:
            for rows in order:
                p, penalty = predict(rows)
                chosen = counted[rows]
                loss = functional.binary_cross_entropy(p[chosen].double(), r[rows][chosen].double()) + penalty
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            return {"fill": rows_of_questions / (len(order) * BATCH * LENGTH), "batches": len(order)}

        return Task(work, rows_of_questions)

    return prepare


if __name__ == "__main__":
    serve({name: training(name) for name in ("simplekt", "ukt", "akt")}, ("pykt-toolkit", "torch"))
