"""The side of MGCN and SMORE that both share, written out with dense matrices in double precision."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from sensorium.data.batches import Batch
from sensorium.data.view import TrainView
from sensorium.recommenders.collaborative.content_views import ContentViews

from .dense import adjacency, content, propagated


def projected(model: ContentViews, view: TrainView) -> list[Tensor]:
    """z^m [I, d]."""
    return [layer(x) for layer, x in zip(model.projections, content(view).values(), strict=True)]


def behaviour(model: ContentViews, view: TrainView) -> Tensor:
    """LGN_L [U + I, d]."""
    embeddings = torch.cat([model.user_embedding, model.item_embedding])
    return propagated(adjacency(view), embeddings, model.config.layers)


def of_all_nodes(items: Tensor, view: TrainView) -> Tensor:
    """[h_U; h_I] of a view's items h_I."""
    return torch.cat([adjacency(view)[: view.n_users, view.n_users :] @ items, items])


def loss(model: ContentViews, view: TrainView, parts: tuple[Tensor, Tensor], batch: Batch) -> dict[str, Tensor]:
    """The terms of a batch, from all nodes' behaviour and side [U + I, d]."""
    before, side = parts
    final = before + side
    user, pos, neg = batch.user, view.n_users + batch.pos, view.n_users + batch.neg[:, 0]
    margin = (final[user] * (final[pos] - final[neg])).sum(1)
    weight = torch.ones(len(margin)) if batch.weight is None else batch.weight
    squares = sum(final[rows].square().sum() for rows in (user, pos, neg))
    contrast = torch.zeros(())
    for rows in (user, pos):
        logits = functional.cosine_similarity(side[rows][:, None], before[rows][None], dim=2) / model.config.temperature
        contrast = contrast - (logits.diagonal() - logits.logsumexp(1)).mean()
    return {
        "ranking": (weight * functional.softplus(-margin)).mean(),
        "reg": model.config.reg * squares / (2 * len(margin)),
        "contrast": model.config.contrast * contrast,
    }
