"""GRU4Rec's encoder: dropout, then gated recurrent layers without bias, as wide as the items.

Hidasi, Karatzoglou, Baltrunas, Tikk: Session-based Recommendations with Recurrent Neural Networks. ICLR 2016. Without
bias, from a state of zero, over inputs of zero, a state stays exactly zero: padding on the left leaves no trace.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sensorium.recommenders.towers.base import Draw


class GRU4RecEncoder(nn.Module):
    """Recurrent layers."""

    def __init__(self, width: int, draw: Draw, *, blocks: int = 1, dropout: float = 0.1) -> None:
        """Make the layers, Xavier-uniform.

        Args:
            width: d.
            draw: Of the first values.
            blocks: Number of layers.
            dropout: Of the input.
        """
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.recurrent = nn.GRU(width, width, num_layers=blocks, bias=False, batch_first=True)
        for name, weight in self.recurrent.named_parameters():
            nn.init.xavier_uniform_(weight, generator=draw(f"encoder.{name}"))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the states of x [B, l, d] with mask bool [B, l]: [B, l, d]."""
        kept = mask.unsqueeze(-1)
        states: Tensor = self.recurrent(torch.where(kept, self.dropout(x), 0.0))[0]
        return torch.where(kept, states, 0.0)
