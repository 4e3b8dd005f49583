"""The contrastive term of the optimisation's loss, and what it remembers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sensorium.encoders.lpips import LPIPS, shipped_file
from sensorium.encoders.lpips_pyramid import Pyramid
from sensorium.lifting.contrastive.config import ContrastiveConfig
from sensorium.lifting.contrastive.distance import l2_sum, pooled
from sensorium.lifting.contrastive.loss import qa_triplet
from sensorium.lifting.contrastive.splitting import NEGATIVE, NEITHER, POSITIVE, split
from sensorium.lifting.guidance.base import Pose, at_side
from sensorium.lifting.photo.cutout import on_background

logger = logging.getLogger(__name__)

PYRAMID = "pyramid"  # in place of a file of weights


def perceptual(weights: str | Path | None = None, *, wanted: str = "alexnet") -> tuple[LPIPS, list[str]]:
    """Return a perceptual distance, and what is to be said of the choice; its `net` stands in results.

    Args:
        weights: A file of tools/convert_weights.py; "pyramid" for the distance without weights; none for the AlexNet
            of this package, or the pyramid where a distribution came without that file.
        wanted: The network that was meant; another one is said.

    Raises:
        DataError: The file is missing, damaged, or fits no network.
    """
    found: LPIPS
    if weights == PYRAMID or (weights is None and not shipped_file().is_file()):
        found = Pyramid()
    else:
        found = LPIPS.shipped() if weights is None else LPIPS.from_file(weights)
    if found.net in (wanted, weights):
        return found, []
    if isinstance(found, Pyramid):
        note = f"a pyramid of details and edges takes the place of LPIPS on {wanted}, whose weights are not here"
    else:
        note = f"LPIPS on {found.net} takes the place of {wanted}, whose weights are not here"
    logger.info("%s", note)
    return found, [note]


class ContrastiveTerm:
    """Judges new views against the photo.

    Args:
        reference: The photo, premultiplied RGBA [4, R, R].
        front: Of its camera.
        config: How.
        lpips: The perceptual distance. A threshold is written as of LPIPS; another distance's is the same share of its
            own value at 50 degrees.
    """

    def __init__(self, reference: Tensor, front: Pose, config: ContrastiveConfig, lpips: LPIPS) -> None:
        self.front, self.config, self.lpips = front, config, lpips
        self.threshold = config.threshold * (lpips.at_fifty / LPIPS.at_fifty)
        self.reference = at_side(reference[None], config.side)[0]
        self.anchor = on_background(self.reference)
        self.remembered = self.anchor.new_zeros(0)
        self.remembered_labels = torch.zeros(0, dtype=torch.int64, device=reference.device)

    def __call__(
        self, rgba: Tensor, poses: Sequence[Pose], share: float, generator: torch.Generator
    ) -> tuple[Tensor | None, dict[str, float]]:
        """Return the weighted loss of views, None while it rests, and numbers to be recorded.

        Args:
            rgba: Premultiplied RGBA [B, 4, r, r].
            poses: Of their cameras.
            share: Of the steps that is done.
            generator: Draws backgrounds, on the CPU.
        """
        config = self.config
        if not config.weight or share < config.start:
            return None, {}
        views = at_side(rgba, config.side)
        distances, labels, numbers = self.judge(views, poses, generator)
        loss = qa_triplet(
            distances,
            labels,
            remembered=self.remembered,
            remembered_labels=self.remembered_labels,
            quantity=config.quantity,
            margins=config.margins,
            margin=config.margin,
            gradient=config.gradient,
        )
        self._remember(distances, labels)
        return config.weight * loss, numbers

    def judge(
        self, views: Tensor, poses: Sequence[Pose], generator: torch.Generator
    ) -> tuple[Tensor, Tensor, dict[str, float]]:
        """Return distances [B] with a graph, labels [B], and numbers to be recorded, of views at the term's side."""
        config = self.config
        shade: float | Tensor = 1.0
        if config.background == "coin":
            coin = torch.rand(len(views), generator=generator) < 0.5
            shade = coin.to(views).reshape(-1, 1, 1, 1)
        laid = on_background(views, shade)
        numbers: dict[str, Any] = {}
        if config.split == "all_positive":
            labels = torch.full((len(views),), POSITIVE, device=views.device)
        else:
            with torch.no_grad():
                seen = self._lpips(laid.detach())
            numbers["lpips"] = seen.mean().item()
            angles = [pose.angle_to(self.front) for pose in poses]
            labels = split(seen, angles, self.threshold, config.ambiguous)
        if config.distance == "pooled":
            distances = pooled(self.reference, views, config.pool)
        else:
            distances = l2_sum(self.anchor, laid) if config.distance == "l2_sum" else self._lpips(laid)
        numbers |= {
            "positives": float((labels == POSITIVE).sum()),
            "negatives": float((labels == NEGATIVE).sum()),
            "distance": distances.detach().mean().item(),
        }
        return distances, labels, numbers

    def _lpips(self, laid: Tensor) -> Tensor:
        """LPIPS to the photo, [B]; colours above one are cut, as on a screen."""
        pictures = torch.cat([self.anchor[None], laid.clamp(0, 1)])
        fed = 2 * pictures - 1 if self.config.perceptual_range == "signed" else pictures
        found: Tensor = self.lpips(fed[1:], fed[:1])
        return found

    def _remember(self, distances: Tensor, labels: Tensor) -> None:
        if not self.config.memory:
            return
        told = labels != NEITHER
        self.remembered = torch.cat([self.remembered, distances.detach()[told]])[-self.config.memory :]
        self.remembered_labels = torch.cat([self.remembered_labels, labels[told]])[-self.config.memory :]

    # --- on disk ----------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Tensor]:
        """Return what it remembers."""
        return {"remembered": self.remembered, "remembered_labels": self.remembered_labels}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Remember what `state` returned."""
        self.remembered = tensors["remembered"].to(self.reference)
        self.remembered_labels = tensors["remembered_labels"].to(self.reference.device)
