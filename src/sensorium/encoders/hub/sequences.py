"""Sequences of states, and the items they belong to: one per text and picture, several per sound and clip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sensorium.encoders.protocol import Prepared

if TYPE_CHECKING:
    from torch import Tensor


def as_sequence(state: Tensor) -> Tensor:
    """Return a map [m, C, h, w] as the sequence of its positions [m, h w, C], row by row; a sequence as it is."""
    return state.flatten(2).transpose(1, 2) if state.dim() == 4 else state


def over_pieces(values: Tensor, pieces: Tensor | None) -> Tensor:
    """Average the sequences of each item: [m, ...] to [b, ...], in float32."""
    values = values.float()
    if pieces is None or len(pieces) == len(values):
        return values
    import torch

    item = torch.repeat_interleave(torch.arange(len(pieces), device=values.device), pieces)
    total = values.new_zeros((len(pieces), *values.shape[1:])).index_add_(0, item, values)
    return total / pieces.to(values.dtype).view(-1, *[1] * (values.dim() - 1))


def joined(hidden: Tensor, mask: Tensor, pieces: Tensor | None) -> tuple[Tensor, Tensor]:
    """Put the tokens of an item's sequences behind one another, padded on the right."""
    if pieces is None or len(pieces) == len(hidden):
        return hidden, mask
    import torch
    from torch.nn.utils.rnn import pad_sequence

    counts = pieces.tolist()
    rows = [part.flatten(0, 1) for part in torch.split(hidden, counts)]
    masks = [part.flatten() for part in torch.split(mask, counts)]
    return pad_sequence(rows, batch_first=True), pad_sequence(masks, batch_first=True)


def widened(states: Tensor, width: int) -> Tensor:
    """Pad states on the right with zeros to a width."""
    import torch.nn.functional as F  # noqa: N812 - the field's name

    return F.pad(states, (0, width - states.shape[-1])) if states.shape[-1] < width else states


def stacked(items: Sequence[Prepared], name: str) -> dict[str, Tensor]:
    """Return the arrays of this name as one tensor, and how many belong to each item where that is not one each."""
    import numpy as np
    import torch

    arrays = [item.arrays[name] for item in items]
    single = arrays[0].ndim == 3 and all(item.pieces == 1 for item in items)
    batch = {name: torch.from_numpy(np.stack(arrays) if single else np.concatenate(arrays))}
    if not single:
        batch["pieces"] = torch.tensor([len(array) for array in arrays])
    return batch
