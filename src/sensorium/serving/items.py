"""Items that came after training: encoded by the encoders of a run, ranked by its model, without training.

    add_items("runs/shop", "new.csv")          sensorium items add runs/shop new.csv
    recommend("runs/shop", user="4711")        the new items compete

They are kept in `<run>/items`, a small data set with the features that the model reads; a second call adds to them. The
run, its data set and its evaluation stay what they are: answers "as evaluated" know nothing of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl

from sensorium.core.errors import DataError
from sensorium.data.columns import MEDIA
from sensorium.data.contents import bring_media
from sensorium.data.dataset import Dataset, Features
from sensorium.data.schema import Source
from sensorium.data.store import new_folder, write_tables
from sensorium.experiments.loading import LoadedRun, load_run
from sensorium.serving.growing import grown_model
from sensorium.serving.item_encoding import encode_as, features_to_make, raw_towers, usable, with_columns_read

FOLDER = "items"


@dataclass(frozen=True)
class AddedItems:
    """What was added.

    Attributes:
        folder: Where they are kept.
        added: Items that are new.
        known: Items of the file that the run knew already; they stay as they are.
        total: All items that were added to this run so far.
        with_content: By feature, and by encoder inside the model, how many of the total have usable content.
        notices: Sentences about content that items lack.
    """

    folder: Path
    added: int
    known: int
    total: int
    with_content: dict[str, int]
    notices: tuple[str, ...] = ()


def add_items(run: str | Path | LoadedRun, file: str | Path) -> AddedItems:
    """Encode items from a CSV file and keep them with a run.

    Args:
        run: A run's folder, or a loaded run, whose model reads features of items or encodes their raw content.
        file: Columns item_id, and the content that the encoders of the run read: title, description, image, ...
            Paths of media are relative to the file's folder. Hidden states are stored of them where the model reads
            such. A cell may be empty and a column may be missing: an item without content of a kind is masked as one
            was in training. Content that cannot be decoded counts as none, and is logged.

    Raises:
        ConfigError: The model knows items by their ids alone, or reads what no encoder made.
        DataError: The file cannot be read, lacks item_id or all columns that are encoded, holds an id twice, names a
            file that is not there, or has no new item.
    """
    loaded = run if isinstance(run, LoadedRun) else load_run(run)
    names = features_to_make(loaded)
    table, notices = with_columns_read(_read(Path(file)), loaded, str(file))
    known = loaded.dataset.items_of(table["item_id"].to_list()) >= 0
    folder = loaded.path / FOLDER
    before = Dataset.open(folder) if folder.exists() else None
    if before is not None:
        known |= before.items_of(table["item_id"].to_list()) >= 0
    fresh = table.filter(pl.Series(~known))
    if not fresh.height:
        raise DataError(f"{file}: all of its {table.height:,} items are known to this run already")
    with new_folder(folder, overwrite=True) as place:
        kept = _beside(before, fresh, Path(file).parent, place)
        grown = write_tables(
            place,
            name=f"items added to {loaded.path.name}",
            source=Source(reader="items add", files=[]),
            interactions=pl.DataFrame(schema={"user": pl.Int32, "item": pl.Int32}),
            items=kept,
            users=pl.DataFrame(schema={"user": pl.Int32, "user_id": pl.String}),
        )
        for name in names:
            grown = encode_as(grown, name, loaded.dataset)
        present = {name: grown.features(name).present for name in names}
        present |= {tower.name: usable(grown, tower) for tower in raw_towers(loaded)}
    nothing = np.flatnonzero(~np.any(list(present.values()), axis=0))
    if len(nothing):
        notices.append(
            f"{len(nothing):,} of the added items have no content that this run reads (for example "
            f"'{kept['item_id'][int(nothing[0])]}'): each is answered as an item without content was in training"
        )
    return AddedItems(
        folder,
        fresh.height,
        int(known.sum()),
        kept.height,
        {name: int(there.sum()) for name, there in present.items()},
        tuple(notices),
    )


def with_added_items(run: LoadedRun) -> LoadedRun:
    """Return a run that knows the items that were added to it; itself where there are none."""
    folder = run.path / FOLDER
    if not folder.exists():
        return run
    added = Dataset.open(folder)
    dataset = GrownCatalogue(run.dataset.root, run.dataset.info, run.dataset.columns, run.dataset, added)
    content = None if run.view.content is None else run.view.content.with_added(added)
    features = _GrownFeatures(run.view.features, added)
    view = replace(run.view, n_items=dataset.n_items, features=features, content=content)
    return replace(run, dataset=dataset, view=view, model=grown_model(run, view))


@dataclass(frozen=True)
class GrownCatalogue(Dataset):
    """A data set with further items behind its own. Rows and users are those of the data set.

    Attributes:
        base: The data set.
        added: The further items.
    """

    base: Dataset | None = None
    added: Dataset | None = None

    @property
    def n_items(self) -> int:
        """Items of both."""
        return sum(part.n_items for part in self._both)

    @cached_property
    def _item_ids(self) -> pl.Series:
        return pl.concat([part.item_ids() for part in self._both])

    def titles(self) -> pl.Series:
        """Return a title for every item of both."""
        return pl.concat([part.titles() for part in self._both])

    def fingerprint(self) -> str:
        """Return digits that change when a table of either does."""
        return "".join(part.fingerprint() for part in self._both)

    @property
    def _both(self) -> tuple[Dataset, Dataset]:
        assert self.base is not None
        assert self.added is not None
        return self.base, self.added


class _GrownFeatures(Mapping[str, Features]):
    """Features of the items of a view and of those that were added."""

    def __init__(self, features: Mapping[str, Features], added: Dataset) -> None:
        self._features, self._added = features, added

    def __getitem__(self, name: str) -> Features:
        first, second = self._features[name], self._added.features(name)
        return Features(np.concatenate([first.x, second.x]), np.concatenate([first.present, second.present]))

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._features if name in self._added.feature_names)

    def __len__(self) -> int:
        return sum(1 for _ in self)


# --- the file -------------------------------------------------------------------------------------------------------


def _read(file: Path) -> pl.DataFrame:
    try:
        table = pl.read_csv(file, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{file} cannot be read as CSV: {str(error).splitlines()[0]}") from None
    if "item_id" not in table.columns:
        raise DataError(f"{file}: there is no column item_id (columns: {', '.join(table.columns)})")
    if table["item_id"].null_count():
        raise DataError(f"{file}: row {int(table['item_id'].is_null().arg_max() or 0) + 1} has no item_id")
    twice = table.filter(pl.col("item_id").is_duplicated())
    if twice.height:
        raise DataError(f"{file}: item_id '{twice['item_id'][0]}' stands twice: keep one row for it")
    return table


def _beside(before: Dataset | None, fresh: pl.DataFrame, media: Path, folder: Path) -> pl.DataFrame:
    """Return the items that were added before, and then the new ones, with their media in the folder."""
    old = None if before is None else before.items().collect()
    start = 0 if old is None else old.height
    numbered = fresh.with_columns(pl.int_range(start, start + pl.len(), dtype=pl.Int32).alias("item"))
    brought, lost = bring_media(numbered.select("item", pl.exclude("item")), media, folder)
    if lost.height:
        raise DataError(f"item '{lost['detail'][0]}': there is no file {lost['file'][0]} below {media}")
    if old is None or before is None:
        return brought
    for column in [name for name in MEDIA if name in old.columns]:
        for relative in old[column].drop_nulls():
            (folder / relative).parent.mkdir(parents=True, exist_ok=True)
            (folder / relative).hardlink_to(before.media_path(relative))
    return pl.concat([old, brought], how="diagonal")
