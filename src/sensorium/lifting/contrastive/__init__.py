"""The contrastive part of ContrastiveGaussian (arXiv 2504.08100, ICME 2025): new views that look like the photo are
pulled to it, those that do not are pushed away.

    config.py     every key, and the constants of the released program
    distance.py   how far two pictures are apart, on which background
    splitting.py  which views are positive, which negative, by a perceptual distance and the angle of view
    loss.py       the quantity-aware triplet loss of distances
    term.py       the four together, with a memory of the last distances
"""

from sensorium.lifting.contrastive.config import UNIT, ContrastiveConfig, released
from sensorium.lifting.contrastive.loss import qa_triplet
from sensorium.lifting.contrastive.term import ContrastiveTerm

__all__ = ["UNIT", "ContrastiveConfig", "ContrastiveTerm", "qa_triplet", "released"]
