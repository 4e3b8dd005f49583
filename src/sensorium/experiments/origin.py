"""Which data a run began with, kept in its folder as `data.json`: it is never continued with others, nor asked about
them.

A run depends on the data set's tables (who is who, who had what) and on the features that its model reads. Features
that were added later change nothing for it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from sensorium.core.errors import RunError
from sensorium.core.files import digest, read_json, write_json
from sensorium.data.catalogue import open_dataset
from sensorium.data.dataset import Dataset
from sensorium.data.schema import INTERACTIONS, ITEMS, USERS

FILE = "data.json"


@dataclass(frozen=True)
class Origin:
    """The data of a run.

    Attributes:
        dataset: What the configuration calls the data set.
        root: Its folder at the time; absolute, so that the run can be opened from anywhere on this machine.
        tables: Digest of its tables.
        features: Name -> digest, of the features that the model reads.
    """

    dataset: str
    root: str
    tables: str
    features: dict[str, str]

    @classmethod
    def of(cls, dataset: Dataset, name: str, features: list[str]) -> Origin:
        """Describe the data that a model is built on."""
        known = dataset.info.features
        root = dataset.root.resolve().as_posix()
        return cls(name, root, tables_digest(dataset), {feature: known[feature].digest for feature in features})

    @classmethod
    def find(cls, run: Path) -> Origin | None:
        """Read it from a run's folder; None for a run that was killed before it was written."""
        path = run / FILE
        return cls(**read_json(path)) if path.exists() else None

    @classmethod
    def read(cls, run: Path) -> Origin:
        """Read it from a run's folder.

        Raises:
            RunError: The run was killed before it was written.
        """
        found = cls.find(run)
        if found is None:
            raise RunError(f"{run} has not begun to train: continue it with 'sensorium resume {run}'")
        return found

    def write(self, run: Path) -> None:
        """Write it into a run's folder."""
        write_json(run / FILE, asdict(self))

    def open(self) -> Dataset:
        """Open the same data: where they were, or else by their name.

        Raises:
            DataError: They are in neither place.
            RunError: They are not what they were.
        """
        dataset = open_dataset(self.root if Path(self.root).is_dir() else self.dataset)
        if tables_digest(dataset) != self.tables:  # rows may have been appended since
            dataset = next((past for past in dataset.earlier() if tables_digest(past) == self.tables), dataset)
        if tables_digest(dataset) != self.tables:
            raise RunError(
                f"the data set '{self.dataset}' ({dataset.root}) has other users, items or interactions than when this "
                "run began: start a new run on it"
            )
        for name, known in self.features.items():
            info = dataset.info.features.get(name)
            if info is None or info.digest != known:
                what = "lacks the features" if info is None else "has other features"
                raise RunError(
                    f"the data set '{self.dataset}' now {what} '{name}' that this run was trained on: start a new run"
                )
        return dataset


def tables_digest(dataset: Dataset) -> str:
    """Return 32 hexadecimal digits of the tables of users, items and interactions; features play no part."""
    return digest({name: dataset.info.checksums.get(name) for name in (USERS, ITEMS, INTERACTIONS)})
