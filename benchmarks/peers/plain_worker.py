"""The plain way to the graphs of FREEDOM and LATTICE: dense cosines, sparse matrices by coordinates, torch's defaults.

As a paper's code has it: all items by all items at once, a normalisation by products with diagonal matrices, one
embedding look-up for each side of a pair, Adam as it comes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from sensorium_worker import freedom, view_with_content
from torch import Tensor
from torch.nn import functional
from worker import BATCH, Task, serve

from sensorium.data.batches import Batch, PairBatches, Step
from sensorium.recommenders.collaborative.content import project
from sensorium.recommenders.collaborative.lattice import LATTICE

CPU = torch.device("cpu")


def nearest(vectors: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest cosines of every row with all rows, and where: [I, k] each."""
    unit = functional.normalize(vectors)
    found = torch.topk(unit @ unit.T, k, dim=1)
    return found.values, found.indices


def freedom_graph(data: Mapping[str, Any], asked: Mapping[str, Any]) -> Task:
    torch.set_num_threads(asked["threads"])
    vectors = torch.from_numpy(data["content"])
    items = len(vectors)

    def work() -> Mapping[str, float]:
        _, near = nearest(vectors, 10)
        row = torch.arange(items).repeat_interleave(10)
        index = torch.stack([row, near.flatten()])
        graph = torch.sparse_coo_tensor(index, torch.ones(10 * items), (items, items)).coalesce()
        degree = 1e-7 + torch.sparse.sum(graph, 1).to_dense()
        row, column = graph.indices()
        graph = torch.sparse_coo_tensor(index, degree[row].rsqrt() * degree[column].rsqrt(), (items, items)).coalesce()
        return {"edges": len(graph.values())}

    return Task(work, items)


def freedom_step(data: Mapping[str, Any], asked: Mapping[str, Any]) -> Task:
    torch.set_num_threads(asked["threads"])
    model, view, _ = freedom(data)
    graph = model._thinned.rows.on(CPU).to_sparse_coo().coalesce()
    alike = model._alike.rows.on(CPU).to_sparse_coo().coalesce()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    batches = PairBatches(view, BATCH)

    def ranking(user: Tensor, item: Tensor, batch: Batch) -> Tensor:
        positive = (user[batch.user] * item[batch.pos]).sum(1)
        negative = (user[batch.user] * item[batch.neg[:, 0]]).sum(1)
        return -functional.logsigmoid(positive - negative).mean()

    def loss(batch: Batch) -> Tensor:
        layers = [torch.cat([model.user_embedding, model.item_embedding])]
        for _ in range(model.config.layers):
            layers.append(torch.sparse.mm(graph, layers[-1]))
        user, item = torch.stack(layers).mean(0).split([view.n_users, view.n_items])
        item = item + torch.sparse.mm(alike, model.item_embedding)
        contents = project(model.content, model.projections).values()
        by_content = torch.stack([ranking(user, content, batch) for content in contents]).sum()
        return ranking(user, item, batch) + model.config.reg * by_content

    def batch(index: int) -> Batch:
        return batches.batch(Step(seed=0, phase="main", epoch=0, index=index))

    with torch.no_grad():
        first = float(loss(batch(0)))

    def work() -> Mapping[str, float]:
        for index in range(asked["steps"]):
            optimizer.zero_grad()
            loss(batch(index)).backward()
            optimizer.step()
        return {"first loss": first}

    return Task(work, asked["steps"] * BATCH)


def lattice_build(data: Mapping[str, Any], asked: Mapping[str, Any]) -> Task:
    torch.set_num_threads(asked["threads"])
    view = view_with_content(data)
    model = LATTICE(view, LATTICE.Config())

    def work() -> Mapping[str, float]:
        with torch.no_grad():
            (vectors,) = project(model.content, model.projections).values()
            values, near = nearest(vectors, model.config.item_neighbours)
            graph = torch.zeros(view.n_items, view.n_items).scatter_(1, near, values.clamp_min(0))
            scale = torch.diagflat(graph.sum(1).rsqrt())
            return {"sum": float((scale @ graph @ scale).double().sum())}

    return Task(work, view.n_items)


if __name__ == "__main__":
    serve(
        {"freedom_graph": freedom_graph, "freedom_step": freedom_step, "lattice_build": lattice_build}, ("sensorium",)
    )
