from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from sensorium.core.errors import ConfigError, DataError
from sensorium.data.batches import PairBatches, Step
from sensorium.data.dataset import Features
from sensorium.recommenders.base import scores
from sensorium.recommenders.collaborative.content import ItemContent
from sensorium.recommenders.collaborative.vbpr import VBPR
from sensorium.testing import subject_of, tiny_view

FIRST = Step(seed=0, phase="main", epoch=0, index=0)


def filled(model: VBPR) -> VBPR:
    """The model with biases that are not zero."""
    with torch.no_grad():
        model.projection.bias.normal_()
        if model.config.bias:
            model.item_bias.normal_()
            model.content_bias.normal_()
    return model.eval()


@pytest.mark.parametrize("bias", [False, True])
def test_scores_equal_the_formula(bias: bool) -> None:
    """<p_u, [e_i; W x_i + b]> (+ beta_i + <beta', x_i>), written out with loops over users and items."""
    view = tiny_view()
    model = filled(VBPR(view, VBPR.Config(dim=4, bias=bias, feature_scale=0.5)))
    parts = []
    for x, present in view.features.values():
        used = present & (view.item_count > 0)
        scaled = (x - x[used].mean(0)) / x[used].std(0)
        parts.append(np.where(present[:, None], scaled, 0))
    content = torch.from_numpy(np.concatenate(parts, axis=1)) * 0.5
    wanted = torch.zeros(view.n_users, view.n_items)
    with torch.no_grad():
        for u in range(view.n_users):
            for i in range(view.n_items):
                x = content[i].float()
                side = model.projection.weight @ x + model.projection.bias
                wanted[u, i] = model.user_embedding[u] @ torch.cat([model.item_embedding[i], side])
                if bias:
                    wanted[u, i] += model.item_bias[i] + model.content_bias @ x
        assert torch.allclose(scores(model, torch.arange(view.n_users)), wanted, atol=1e-5)
        user, item, modal = model.represent()
    width = 9 if bias else 8
    assert (user.shape[1], item.shape[1]) == (width, width)
    assert torch.allclose(modal["content"], item[:, 4:8])


@pytest.mark.parametrize("bias", [False, True])
def test_loss_is_the_formula_over_the_final_vectors(bias: bool) -> None:
    """The loss projects each item of a batch once; the same from the full matrices of vectors."""
    view = tiny_view()
    model = filled(VBPR(view, VBPR.Config(dim=4, bias=bias, reg=0.3)))
    batch = PairBatches(view, batch_size=20, n_negatives=2).batch(FIRST)
    user, item, _ = model.represent()
    u, i, j = user[batch.user], item[batch.pos], item[batch.neg]
    ranking = torch.log1p(torch.exp((u[:, None] * j).sum(-1) - (u * i).sum(-1, keepdim=True))).mean()
    norm = model.user_embedding[batch.user].norm() + i.norm() + j.norm()
    terms = model.loss(batch)
    assert terms["ranking"].item() == pytest.approx(ranking.item(), rel=1e-5)
    assert terms["reg"].item() == pytest.approx(0.3 * norm.item() / 20, rel=1e-5)
    parameters = list(model.parameters())
    found = torch.autograd.grad(sum(terms.values()), parameters)
    wanted = torch.autograd.grad(ranking + 0.3 * norm / 20, parameters)
    for one, other in zip(found, wanted, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_content_alone_separates_items_without_rows() -> None:
    """Two new items with the contents of two groups are told apart, before anybody had them."""
    draw = np.random.default_rng(0)
    group = np.arange(40) % 2
    x = (np.where(group[:, None] == 0, 1.0, -1.0) + 0.1 * draw.normal(size=(40, 3))).astype(np.float32)
    user, item = np.divmod(np.flatnonzero(draw.random(60 * 38) < 0.5), 38)
    own = user % 2 == group[item]
    view = replace(
        tiny_view(users=60, items=40),
        user=user[own],
        item=item[own],
        features={"text": Features(x, np.ones(40, dtype=bool))},
    )
    model = subject_of(VBPR, {"dim": 8}).train(view, epochs=20)
    found = scores(model, torch.arange(60))
    right = (found[:, 38] > found[:, 39]) == (torch.arange(60) % 2 == 0)
    assert right.double().mean() > 0.95


def test_chosen_features_are_read_in_the_order_of_the_config() -> None:
    view = tiny_view(modalities=("text", "image", "audio"))
    model = VBPR(view, VBPR.Config(features=["audio", "text"]))
    assert model.content.columns == {"audio": slice(0, 7), "text": slice(7, 12)}
    assert model.content.width == 12
    alone = VBPR(replace(view, features={"audio": view.features["audio"]}), VBPR.Config())
    assert torch.equal(model.content.values[:, :7], alone.content.values)


def test_all_features_by_default() -> None:
    assert list(VBPR(tiny_view(modalities=("a", "b", "c")), VBPR.Config()).content.columns) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            ["imgae"],
            r"model.features: 'imgae' is not a feature of this data set; did you mean 'image'\? \(known: text, image\)",
        ),
        (["text", "text"], "none twice"),
        ([], "at least one"),
    ],
)
def test_wrong_choices_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        VBPR(tiny_view(), VBPR.Config(features=names))


def test_without_features_it_says_which_command_makes_them() -> None:
    with pytest.raises(DataError, match=r"vbpr needs item features and the data set has none.*`sensorium encode"):
        VBPR(tiny_view(modalities=()), VBPR.Config())


def test_absent_content_is_zero_and_never_read() -> None:
    """The training mean after standardisation; whatever stands under a False mask."""
    view = tiny_view(missing=0.5)
    (x, present), other = view.features["text"], np.full_like(view.features["text"].x, math.nan)
    filled_in = Features(np.where(present[:, None], x, other), present)
    content = ItemContent(replace(view, features={"text": filled_in}), None, model="m")
    assert not content.values[~torch.from_numpy(present)].any()
    used = torch.from_numpy(present & (view.item_count > 0))
    assert torch.allclose(content.values[used].mean(0), torch.zeros(5), atol=1e-5)
    assert torch.allclose(content.values[used].std(0, unbiased=False), torch.ones(5), atol=1e-4)


def test_the_mmrec_protocol_keeps_raw_features_and_fills_their_mean() -> None:
    view = tiny_view(missing=0.5)
    (x, present) = view.features["text"]
    content = ItemContent(view, ["text"], model="m", protocol="mmrec")
    used = present & (view.item_count > 0)
    assert np.array_equal(content.values.numpy()[present], x[present])
    assert np.allclose(content.values.numpy()[~present], x[used].mean(0), atol=1e-5)


def test_the_scale_of_the_features_is_stored_and_the_features_are_not() -> None:
    state = VBPR(tiny_view(), VBPR.Config()).state_dict()
    assert {"content.mean", "content.sd"} <= state.keys()
    assert "content.values" not in state
