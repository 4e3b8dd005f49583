"""The exact first k of every row, equal scores ordered by a given order of the items, without sorting rows.

Each column's score and place in the tie order become one whole number, so that no two columns of a row are equal: the
larger number is the better item. Making and searching these numbers for a whole row costs more than the matrix product
that made the scores, so wide rows are thinned out first: the row is cut into groups of columns, and only the k+1 groups
with the largest maxima are looked at. That is exact when the k-th largest maximum is greater than the next one, since
then every column of the other groups is below k others. The few rows for which it isn't are searched whole.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

GROUP_WIDTH = 16
WHOLE_ROWS = 32  # rows searched whole at once: bounds the memory of their int64 keys
_LOW = (1 << 31) - 1


@dataclass(frozen=True)
class Best:
    """The first k columns of n rows.

    Attributes:
        columns: int64 [n, k], best first; -1 where fewer than k columns have a score above -inf.
        scores: float32 [n, k]; -inf there.
        tie_at_cut: bool [n], whether the column after the k-th has the same score.
    """

    columns: Tensor
    scores: Tensor
    tie_at_cut: Tensor


class Chooser:
    """Finds the first k of rows of one width, with buffers that are made once.

    Args:
        places: int64 [width], the place of each column in the tie order: of equal scores the smaller place wins.
        k: Length of the lists; if it is larger than the width, the last entries are empty.
        rows: The number of rows of the score buffer.
    """

    def __init__(self, places: Tensor, k: int, rows: int) -> None:
        self.width, self.k = len(places), k
        self._groups = -(-self.width // GROUP_WIDTH)
        padded = self._groups * GROUP_WIDTH
        device = places.device
        rank = places.argsort().argsort()  # 0..width-1, so that it fits the low half of a key and can be inverted
        self._column = rank.argsort()
        # Group g holds the columns g, g + groups, g + 2 groups, ...: maxima are then taken of whole slices of a row.
        self._low = torch.full((padded,), _LOW - self.width, device=device)
        self._low[: self.width] = _LOW - rank
        self._low_by_group = self._low.view(GROUP_WIDTH, self._groups).T.contiguous()
        self.scores = torch.full((rows, padded), float("-inf"), device=device)
        """float32 [rows, >= width]: the caller writes scores into the first `width` columns; the rest stays -inf."""

    def choose(self, n: int) -> Best:
        """Return the first k of the first n rows of the buffer; a row with NaN gives NaN as its first score."""
        scores, taken = self.scores[:n], min(self.k + 1, self.width)
        if self._groups <= 2 * taken:
            return self._finish(_top(scores, self._low, taken), scores.amax(dim=1))
        grouped = scores.view(n, GROUP_WIDTH, self._groups)
        peaks = grouped.amax(dim=1)  # [n, groups]
        highest, group = peaks.topk(taken, dim=1)
        chosen = grouped.gather(2, group[:, None, :].expand(n, GROUP_WIDTH, taken)).transpose(1, 2)
        keys = _top(chosen.reshape(n, -1), self._low_by_group[group].view(n, -1), taken)
        unsure = torch.nonzero(highest[:, -2] == highest[:, -1]).squeeze(1)
        for start in range(0, len(unsure), WHOLE_ROWS):
            rows = unsure[start : start + WHOLE_ROWS]
            keys[rows] = _top(scores[rows], self._low, taken)
        return self._finish(keys, highest[:, 0])

    def _finish(self, keys: Tensor, largest: Tensor) -> Best:
        """Read columns and scores back from the keys [n, k+1]."""
        scores = _from_ordered((keys >> 32).int())
        rank = (_LOW - (keys & 0xFFFFFFFF)).clamp(max=self.width - 1)
        columns = self._column[rank].masked_fill(scores == float("-inf"), -1)
        scores[:, 0] = torch.where(largest.isnan(), largest, scores[:, 0])
        missing = self.k + 1 - keys.shape[1]
        if missing > 0:
            columns = torch.nn.functional.pad(columns, (0, missing), value=-1)
            scores = torch.nn.functional.pad(scores, (0, missing), value=float("-inf"))
        cut, following = scores[:, self.k - 1], scores[:, self.k]
        tie = (cut == following) & (following > float("-inf"))
        return Best(columns[:, : self.k], scores[:, : self.k], tie)


def _top(scores: Tensor, low: Tensor, count: int) -> Tensor:
    """Return the `count` largest keys of each row, largest first: int64 [n, count]."""
    keys = _to_ordered(scores).to(torch.int64).bitwise_left_shift_(32).bitwise_or_(low)
    return keys.topk(count, dim=1).values


def _to_ordered(scores: Tensor) -> Tensor:
    """Return int32 that compare as the float32 do; -0 becomes 0, which it equals."""
    bits = (scores + 0.0).view(torch.int32)
    return bits.bitwise_xor_((bits >> 31).bitwise_and_(_LOW))


def _from_ordered(ordered: Tensor) -> Tensor:
    """Undo `_to_ordered`."""
    return (ordered ^ ((ordered >> 31) & _LOW)).view(torch.float32)
