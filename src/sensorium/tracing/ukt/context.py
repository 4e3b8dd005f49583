"""The context encoder of UKT, on means only: what a question and an answer mean beside those before them (as in AKT).

y <- Block(y, y, y), x <- Block(x, x, x) without a feed-forward layer; a row sees itself and its past.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from sensorium.tracing.attention import AttentionBlock, decayed, join_heads, masked_softmax, split_heads
from sensorium.tracing.ukt.config import UKTConfig


class ContextEncoder(nn.Module):
    """Two self-attention blocks, one on answers and one on questions.

    Args:
        config: Widths, dropout, decay.
    """

    def __init__(self, config: UKTConfig) -> None:
        super().__init__()

        def block(hidden: int) -> AttentionBlock:
            return AttentionBlock(
                config.dim, config.heads, hidden, dropout=config.dropout, decay=config.decay, share_query_key=True
            )

        self.answers, self.questions = block(config.hidden), block(0)

    def forward(self, x: Tensor, y: Tensor, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Return x and y in their context, float [B, T, d] each; `visible` shows each row itself and its past."""
        y = self.answers(y, y, y, visible)
        return self.questions(x, x, x, visible), y

    def other_questions(self, asked: Tensor, x: Tensor, visible: Tensor, gap: Tensor) -> Tensor:
        """Return questions in the context of a past that they are no part of, each as if it came next there.

        Args:
            asked: float [B, N, d].
            x: float [B, T, d], the questions of the past, before this encoder.
            visible: bool [B, 1, N, T], which of them each asked question sees.
            gap: float [B, 1, N, T], rows between them.

        Returns:
            float [B, N, d], what `forward` gives for a row at that place.
        """
        block, attention = self.questions, self.questions.attention
        heads = attention.heads
        q, key = split_heads(attention.query(asked), heads), split_heads(attention.key(x), heads)
        q = q / math.sqrt(q.shape[-1])
        own = (q * split_heads(attention.key(asked), heads)).sum(-1, keepdim=True)
        scores = torch.cat([q @ key.transpose(-1, -2), own], dim=-1)  # [B, H, N, T + 1], the last key is itself
        shown = torch.cat([visible, visible.new_ones(()).expand(*visible.shape[:-1], 1)], dim=-1)
        gap = torch.cat([gap, gap.new_zeros(()).expand(*gap.shape[:-1], 1)], dim=-1)
        weights = masked_softmax(decayed(scores, shown, attention.gamma, attention.decay, gap), shown)
        past, itself = weights[..., :-1], weights[..., -1:]
        value, own_value = split_heads(attention.value(x), heads), split_heads(attention.value(asked), heads)
        result: Tensor = block.attention_norm(asked + attention.out(join_heads(past @ value + itself * own_value)))
        return result
