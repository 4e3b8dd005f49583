"""DSSM: its loss by hand, its form with content beside ids, its groups, the contract with any tower."""

from __future__ import annotations

import pytest
import torch

from sensorium.data.batches import Batch
from sensorium.recommenders.collaborative.two_tower import DSSM
from sensorium.testing import CHECKS, subject_of, tiny_view


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_the_loss_by_hand(alpha: float) -> None:
    """Each pair against every other item of the batch, as often as it stands there; its own item is no negative."""
    view = tiny_view()
    model = DSSM(view, DSSM.Config(dim=6, debias_alpha=alpha))
    rows = torch.arange(9)
    user, item = torch.from_numpy(view.user)[rows], torch.from_numpy(view.item)[rows]
    weight = torch.linspace(0.5, 1.5, 9)
    batch = Batch(user, item, torch.zeros(9, 0, dtype=torch.int64), rows, weight)
    users, items = model.user_embedding, model.item_vectors()
    log_p = alpha * model.log_p[1:]
    total = torch.zeros(())
    for place in range(9):
        z = users[user[place]] @ items[item].T - log_p[item]
        others = [z[other] + weight[other].log() for other in range(9) if item[other] != item[place]]
        total = total + weight[place] * (torch.stack([z[place], *others]).logsumexp(0) - z[place])
    found = model.loss(batch)["ranking"]
    assert len(set(item.tolist())) < 9
    torch.testing.assert_close(found, total / 9)
    mine, theirs = (torch.autograd.grad(value, model.user_embedding)[0] for value in (found, total / 9))
    torch.testing.assert_close(mine, theirs)


def test_content_beside_ids_has_user_vectors_of_its_own() -> None:
    """s(u, i) = <g_u, g_i> + <m_u, W f_i>; what makes vectors of content may have its own rate."""
    model = DSSM(tiny_view(), DSSM.Config(dim=6, tower="id+features"))
    users, items = model.query_vectors(torch.arange(model.n_users)), model.item_vectors()
    assert (users.shape[1], items.shape[1]) == (12, 12)
    own, content = (tower(torch.arange(1, model.n_items + 1)) for tower in model.towers)
    torch.testing.assert_close(users @ items.T, users[:, :6] @ own.T + users[:, 6:] @ content.T)
    groups = model.phases()[0].groups
    assert {id(value) for value in groups["content"]} == {id(value) for value in model.towers[1].parameters()}


@pytest.mark.parametrize("tower", ["features", "id+features", "fusion"])
def test_contract_of_towers(tower: str) -> None:
    for name, check in CHECKS.items():
        if name != "new process":
            subject = subject_of("dssm", {"dim": 8, "tower": tower})
            try:
                check(subject)
            except Exception as reason:
                if type(reason).__name__ != "NotApplicable":
                    raise
