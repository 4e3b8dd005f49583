"""The id tower: a vector of its own for every item, e_i = W_id[i]."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from sensorium.nn.tokens import PADDING
from sensorium.recommenders.towers.base import Draw, Tower


class IDTower(Tower):
    """W_id [I + 1, d], Xavier-normal; the row of token 0 is zero and stays so.

    Nothing is learned about an item that training never shows: its vector is zero too (`Recommender.id_embedding`).
    """

    of_catalogue = ("table",)

    def __init__(self, shown: npt.NDArray[np.bool_], width: int, draw: Draw) -> None:
        """Make the table.

        Args:
            shown: bool [I], items that training shows.
            width: d.
            draw: Of the first values.
        """
        super().__init__()
        self.width = width
        table = torch.empty(len(shown) + 1, width)
        nn.init.xavier_normal_(table, generator=draw("tower.id"))
        table[PADDING] = 0.0
        table[1:][torch.from_numpy(~shown)] = 0.0
        self.table = nn.Parameter(table)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the rows of tokens int64 [n]: float32 [n, d]."""
        return functional.embedding(tokens, self.table, padding_idx=PADDING)
