"""GRU4Rec's encoder: dropout, then gated recurrent layers without bias, as wide as the items.

Hidasi, Karatzoglou, Baltrunas, Tikk: Session-based Recommendations with Recurrent Neural Networks. ICLR 2016. Without
bias, from a state of zero, over inputs of zero, a state stays exactly zero: padding on the left leaves no trace.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sensorium.nn.across import BatchDropout
from sensorium.recommenders.towers.base import Draw


class GRU4RecEncoder(nn.Module):
    """Recurrent layers."""

    def __init__(self, width: int, draw: Draw, *, blocks: int = 1, dropout: float = 0.1) -> None:
        """Make the layers; the first is Xavier-uniform, the others have torch's own first values, as in the code.

        Args:
            width: d.
            draw: Of the first values.
            blocks: Number of layers.
            dropout: Of the input.
        """
        super().__init__()
        self.dropout = BatchDropout(dropout)
        self.recurrent = nn.GRU(width, width, num_layers=blocks, bias=False, batch_first=True)
        for name, weight in self.recurrent.named_parameters():
            generator = draw(f"encoder.{name}")
            if name.endswith("_l0"):
                nn.init.xavier_uniform_(weight, generator=generator)
            else:
                nn.init.uniform_(weight, -(width**-0.5), width**-0.5, generator=generator)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the states of x [B, l, d] with mask bool [B, l]: [B, l, d]."""
        kept = mask.unsqueeze(-1)
        states: Tensor = self.recurrent(torch.where(kept, self.dropout(x), 0.0))[0]
        return torch.where(kept, states, 0.0)
