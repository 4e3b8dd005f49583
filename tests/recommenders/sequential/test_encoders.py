from __future__ import annotations

import pytest
import torch
from torch import nn

from sensorium.core.seeds import torch_generator
from sensorium.recommenders.sequential.encoders.gru4rec import GRU4RecEncoder
from sensorium.recommenders.sequential.encoders.nextitnet import NextItNetEncoder
from sensorium.recommenders.sequential.encoders.sasrec import SASRecEncoder

WIDTH, LENGTH = 8, 12


def draw(name: str) -> torch.Generator:
    return torch_generator(0, name)


ENCODERS = {
    "sasrec": lambda: SASRecEncoder(WIDTH, LENGTH, draw),
    "sasrec-pre": lambda: SASRecEncoder(WIDTH, LENGTH, draw, norm="pre"),
    "gru4rec": lambda: GRU4RecEncoder(WIDTH, draw, blocks=2),
    "nextitnet": lambda: NextItNetEncoder(WIDTH, draw),
}


def noisy(name: str) -> nn.Module:
    """An encoder whose biases are not zero, as after training."""
    encoder = ENCODERS[name]().eval()
    with torch.no_grad():
        for place, value in enumerate(encoder.parameters()):
            value += 0.1 * torch.randn(value.shape, generator=torch_generator(place, "noise"))
    return encoder


@pytest.mark.parametrize("name", ENCODERS)
def test_what_stands_at_padding_does_not_matter(name: str) -> None:
    encoder = noisy(name)
    mask = torch.arange(LENGTH) >= torch.tensor([[0], [3], [11], [12]])
    x = torch.randn(4, LENGTH, WIDTH)
    other = torch.where(mask.unsqueeze(-1), x, torch.randn_like(x) * 100)
    with torch.no_grad():
        found = encoder(x, mask)
        assert torch.allclose(found, encoder(other, mask), atol=1e-5)
    assert not found[~mask].any()


@pytest.mark.parametrize("name", ["gru4rec", "nextitnet"])
def test_more_padding_does_not_matter(name: str) -> None:
    encoder = noisy(name)
    x, mask = torch.randn(2, 6, WIDTH), torch.tensor([[True] * 6, [False] * 2 + [True] * 4])
    with torch.no_grad():
        wanted = encoder(x, mask)[:, -1]
        for more in range(1, 6):
            longer = torch.cat([torch.randn(2, more, WIDTH), x], 1)
            padded = torch.cat([torch.zeros(2, more, dtype=torch.bool), mask], 1)
            assert torch.allclose(encoder(longer, padded)[:, -1], wanted, atol=1e-5)


@pytest.mark.parametrize("name", ENCODERS)
def test_causality_to_the_bit(name: str) -> None:
    encoder = noisy(name)
    mask = torch.arange(LENGTH) >= torch.tensor([[0], [4]])
    x = torch.randn(2, LENGTH, WIDTH)
    with torch.no_grad():
        before = encoder(x, mask)
        for place in range(LENGTH):
            changed = x.clone()
            changed[:, place] += torch.randn(WIDTH)
            after = encoder(changed, mask)
            assert torch.equal(after[:, :place], before[:, :place])
            assert not torch.equal(after[0, place], before[0, place])
