"""What a run recommends to a few users, with titles and covers: what a person can judge at a glance."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from sensorium.core.errors import DataError
from sensorium.core.files import read_parquet
from sensorium.core.seeds import numpy_generator
from sensorium.data.dataset import Dataset
from sensorium.data.splits import TEST, TRAIN, Split
from sensorium.experiments.finished import FinishedRun
from sensorium.media.images import read_image

if TYPE_CHECKING:
    from markupsafe import Markup

# One transparent pixel: the page's style draws the frame.
_EMPTY = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="

THUMBNAIL = 176  # pixels: sharp at the width of a column of the page


@dataclass(frozen=True)
class ExampleItem:
    """One item of an example.

    Attributes:
        title: Its title, or its id.
        picture: Its cover; an empty frame when it can't be shown; None when the data set has no pictures.
        hit: Whether the user's test rows hold it.
    """

    title: str
    picture: Markup | None
    hit: bool = False


@dataclass(frozen=True)
class Example:
    """A test user: how many items they had in training, some of them, and what is recommended."""

    user_id: str
    n_had: int
    had: list[ExampleItem]
    recommended: list[ExampleItem]


def draw_examples(
    run: FinishedRun, dataset: Dataset, split: Split, *, users: int = 3, recommended: int = 9, had: int = 9
) -> list[Example]:
    """Return a few test users, drawn at random by the run's seed.

    Args:
        run: The run, which holds the lists of its test users.
        dataset: Its data set.
        split: Its split.
        users: How many users.
        recommended: How many places of each list.
        had: How many of the user's train items.
    """
    ids = run.per_user["user_id"]
    drawn = numpy_generator(run.seed, "report examples").choice(len(ids), min(users, len(ids)), replace=False)
    lists = read_parquet(run.path / "lists.parquet").filter(pl.col("rank") <= recommended)
    catalogue = _Catalogue(dataset)
    train, test = split.part(TRAIN), split.part(TEST)
    examples = []
    for user_id in ids.gather(np.sort(drawn)):
        number = dataset.users_of([user_id])[0]
        known = train.item[train.user == number]
        right = set(test.item[test.user == number].tolist())
        listed = dataset.items_of(lists.filter(pl.col("user_id") == user_id).sort("rank")["item_id"].to_list())
        examples.append(
            Example(
                user_id,
                len(known),
                [catalogue.show(item) for item in known[:had].tolist()],
                [catalogue.show(item, hit=item in right) for item in listed.tolist()],
            )
        )
    return examples


class _Catalogue:
    """Titles and covers of single items."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._titles = dataset.titles()
        columns = dataset.items().collect_schema().names()
        self._images = dataset.items().select("image").collect()["image"] if "image" in columns else None

    def show(self, item: int, *, hit: bool = False) -> ExampleItem:
        """Return one item with its cover."""
        picture = None if self._images is None else self._cover(self._images[item], self._titles[item])
        return ExampleItem(self._titles[item], picture, hit)

    def _cover(self, relative: str | None, title: str) -> Markup:
        from markupsafe import Markup

        if relative is not None:
            try:
                return _thumbnail(self._dataset, relative, title)
            except DataError:
                pass  # a broken or missing file: the encoder has named it, here an empty frame stands for it
        return Markup('<img src="{}" alt="no picture of {}">').format(_EMPTY, title)


def _thumbnail(dataset: Dataset, relative: str, title: str) -> Markup:
    """Return a small inline JPEG.

    Raises:
        DataError: The path leaves the data set's folder, or the file can't be read as a picture.
    """
    from markupsafe import Markup

    image = read_image(dataset.media_path(relative))
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    stream = io.BytesIO()
    image.save(stream, format="JPEG", quality=80)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    return Markup('<img src="data:image/jpeg;base64,{}" alt="{}" loading="lazy">').format(data, title)
