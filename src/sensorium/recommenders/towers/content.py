"""The raw content of items as an encoder takes it: decoded in processes of their own, kept in memory where that fits.

Pictures and frames are kept as the whole numbers that they were normalised from, a quarter of the bytes, and normalised
again when they are asked for: the same bits, which is checked for each of them.
"""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import DataError
from sensorium.core.files import digest
from sensorium.core.progress import Progress
from sensorium.core.resources import available_memory, readable_bytes, require_memory
from sensorium.data.dataset import Dataset
from sensorium.data.item_content import ItemContent
from sensorium.encoders.base import Modality
from sensorium.encoders.cache.decoding import Decoder, Raw, Refusal, size_of
from sensorium.encoders.contents import Contents, read_contents
from sensorium.encoders.memo import Memo
from sensorium.encoders.preparing.image import ImagePreparer
from sensorium.encoders.protocol import FoundationEncoder, Prepared, Preparer
from sensorium.media.errors import MediaError

log = logging.getLogger(__name__)

Keep = Literal["auto", "memory", "demand"]
SAMPLE = 4  # items by which the size of all is estimated
SHARE = 4  # of the free memory, one part in so many is taken without being asked


class PreparedItems:
    """The content of a catalogue for one encoder.

    Attributes:
        present: bool [I], items with content that has not been refused so far.
        digest: 32 hexadecimal digits of all content and of its preprocessing; items that came later are no part of it.
        columns: Columns of the items that are read; of later items the same.
        refused: Item -> why its content cannot be used, of those that were tried.
        keeps: Whether what was decoded stays in memory; decided when content is first asked for.
    """

    def __init__(
        self,
        content: ItemContent,
        encoder: FoundationEncoder,
        fields: Sequence[str] | None = None,
        *,
        keep: Keep = "auto",
        workers: int | None = None,
    ) -> None:
        """Look at the content; decode nothing yet.

        Args:
            content: Of the items.
            encoder: Whose preprocessing.
            fields: Columns of the items; None takes those of the encoder's modality.
            keep: "memory" decodes everything once and keeps it; "demand" decodes whenever it is asked; "auto" keeps
                what fits a quarter of the free memory.
            workers: Decoding processes; 0 decodes here, without a time limit. None: 0 for texts, else one less than
                the machine's cores, from 1 to 8.

        Raises:
            DataError: There is no such column, or no item has content.
        """
        dataset, modality = content.dataset, encoder.card.modality
        own = _contents(dataset, modality, fields)
        self.columns = own.fields
        self._contents = [own] if content.added is None else [own, _contents_like(content.added, modality, own.fields)]
        self._row = content.rows(np.arange(dataset.n_items))
        self.present: npt.NDArray[np.bool_] = np.concatenate(
            [own.present[self._row], *(added.present for added in self._contents[1:])]
        )
        if not self.present.any():
            raise DataError(
                f"'{dataset.name}' has no {modality} to encode: {', '.join(own.fields)} is empty for all of "
                f"its {dataset.n_items:,} items"
            )
        self.digest = digest(own.digests[self._row], encoder.preparer.facts)
        self.refused: dict[int, str] = {}
        self._modality, self._keep = modality, keep
        self.keeps: bool | None = None if keep != "demand" else False
        self._kept: dict[int, Prepared] = {}
        self._preparer = encoder.preparer
        self._workers = _workers(modality) if workers is None else workers
        group = 64 if modality == "text" else 4
        ahead = 2 * group * max(self._workers, 1)
        self._decoder = Decoder(encoder.preparer, workers=self._workers, group=group, ahead=ahead)
        weakref.finalize(self, self._decoder.__exit__, None, None, None)

    def take(self, items: Sequence[int]) -> list[Prepared | None]:
        """Return the content of items, prepared; None for those without usable content.

        Raises:
            ResourceError: All of it was to be kept in memory, and does not fit.
        """
        if self.keeps is None:
            self._decide()
        if self.keeps:
            return [self._unpacked(item) for item in items]
        found = dict(zip(wanted := [item for item in items if self.present[item]], self._decoded(wanted), strict=True))
        return [found.get(item) for item in items]

    def _decide(self) -> None:
        """Estimate what all content takes in memory; keep it where that is asked for, or fits."""
        tried = np.flatnonzero(self.present).tolist()
        sizes = [
            size_of(_packed(prepared, self._preparer)) for prepared in self._decoded(tried[:SAMPLE]) if prepared
        ] or [0]
        needed = int(sum(sizes) / len(sizes) * len(tried))
        what = f"the {self._modality} of {len(tried):,} items, decoded,"
        if self._keep == "auto" and needed > available_memory() / SHARE:
            log.info(
                "%s would take %s of memory: it is decoded again in each step, in %d processes",
                what, readable_bytes(needed), self._workers,
            )  # fmt: skip
            self.keeps = False
            return
        require_memory(needed, what)
        self.keeps = True
        with Progress(len(tried), f"decode {self._modality}", unit="items") as bar:
            for item, prepared in zip(tried, self._decoded(tried), strict=True):
                if prepared is not None:
                    self._kept[item] = _packed(prepared, self._preparer)
                bar.advance(refused=len(self.refused))

    def _decoded(self, items: Sequence[int]) -> list[Prepared | None]:
        found: list[Prepared | None] = []
        raws = [self._raw(item) for item in items]
        for item, outcome in zip(items, self._decoder.outcomes(raws), strict=True):
            if isinstance(outcome, Refusal):
                if outcome.reason != "empty":
                    self._refuse(item, outcome)
                self.present[item] = False
                found.append(None)
            else:
                found.append(outcome)
        return found

    def _raw(self, item: int) -> Raw | Refusal:
        own = len(self._row)
        contents, row = (self._contents[0], self._row[item]) if item < own else (self._contents[1], item - own)
        try:
            return contents.source(int(row))
        except MediaError as error:
            return Refusal(error.reason, error.detail)

    def _refuse(self, item: int, outcome: Refusal) -> None:
        if not self.refused:
            log.warning(
                "item %d has no usable %s and counts as an item without: %s, %s; others may follow, which are counted",
                item, self._modality, outcome.reason, outcome.detail,
            )  # fmt: skip
        self.refused[item] = f"{outcome.reason}: {outcome.detail}"

    def _unpacked(self, item: int) -> Prepared | None:
        prepared = self._kept.get(item)
        return None if prepared is None else _unpack(prepared, self._preparer)


def _contents(dataset: Dataset, modality: Modality, fields: Sequence[str] | None) -> Contents:
    memo = Memo(dataset.root / "features" / ".hashes.json")
    contents = read_contents(dataset, modality, fields, memo=memo)
    with suppress(OSError, DataError):  # a data set that cannot be written to is read again each time
        memo.save()
    return contents


def _contents_like(dataset: Dataset, modality: Modality, columns: Sequence[str]) -> Contents:
    """Return the content of later items from the columns that were read of the first ones, or those of them it has."""
    known = dataset.items().collect_schema().names()
    return _contents(dataset, modality, [column for column in columns if column in known] or columns)


def _workers(modality: str) -> int:
    return 0 if modality == "text" else min(8, max(1, (os.cpu_count() or 1) - 1))


def _packed(prepared: Prepared, preparer: Preparer) -> Prepared:
    """Return pictures as whole numbers, uint8 [..., H, W, 3], where these give the same bits again; else all as it
    is.
    """
    pixels = prepared.arrays.get("pixels")
    image = getattr(preparer, "image", preparer)
    if pixels is None or not isinstance(image, ImagePreparer):
        return prepared
    scale = (255 * np.asarray(image.std)).reshape(3, 1, 1)
    shift = (np.asarray(image.mean) / np.asarray(image.std)).reshape(3, 1, 1)
    whole = np.rint((pixels + shift) * scale)
    if whole.min() < 0 or whole.max() > 255:
        return prepared
    packed = replace(prepared, arrays={**prepared.arrays, "pixels": np.moveaxis(whole.astype(np.uint8), -3, -1).copy()})
    same = np.array_equal(_unpack(packed, preparer).arrays["pixels"], pixels)
    return packed if same else prepared


def _unpack(prepared: Prepared, preparer: Preparer) -> Prepared:
    pixels = prepared.arrays.get("pixels")
    image = getattr(preparer, "image", preparer)
    if pixels is None or pixels.dtype != np.uint8 or not isinstance(image, ImagePreparer):
        return prepared
    frames = pixels.reshape(-1, *pixels.shape[-3:])
    normalised = np.stack([image.normalised(frame) for frame in frames])
    return replace(
        prepared, arrays={**prepared.arrays, "pixels": normalised.reshape(*pixels.shape[:-3], *normalised.shape[1:])}
    )
