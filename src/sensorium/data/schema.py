"""The shape of a data set on disk: one folder of Parquet tables, and `dataset.json` that describes them.

dataset.json            what this is: name, licence, source, counts, checksums, sensitive columns, features
interactions.parquet    user int32, item int32, [rating float32], [timestamp int64], [order int64], [weight float32],
                        further columns
items.parquet           item int32 0..I-1 in order, item_id text, [title, description, image, ...]
users.parquet           user int32 0..U-1 in order, user_id text, [attributes]
rejected.parquet        what was set aside, with file, row, column and reason
features/<folder>/      pooled.npy [I, d], present.npy bool [I], manifest.json
splits/                 one table per split that was asked for
generations/            what the data set was before rows were appended: 0000.json, ...
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from sensorium.core.config import Config

FORMAT_VERSION = 1

INTERACTIONS = "interactions.parquet"
ITEMS = "items.parquet"
USERS = "users.parquet"
REJECTED = "rejected.parquet"
DESCRIPTION = "dataset.json"
GENERATIONS = "generations"

WEIGHT = "weight"
"""The column of interactions that says how far each row counts (`data.weights`)."""


class SourceFile(Config):
    """One file that the data came from."""

    name: str
    sha256: str
    bytes: int


class Source(Config):
    """Where the data came from."""

    reader: str
    options: dict[str, Any] = Field({})
    files: list[SourceFile] = Field([])


class FeatureInfo(Config):
    """One feature set of the items: where it lies and how it came to be."""

    folder: str = Field(description="folder below the data set")
    dim: int = Field(description="width, d")
    dtype: str = Field(description="number format on disk")
    items: int = Field(description="rows, I")
    present: int = Field(description="items that have content")
    provenance: dict[str, Any] | Literal["unknown"] = Field(
        "unknown", description="encoder, fields and key that made it; 'unknown' for a given matrix"
    )
    digest: str = Field(description="of values and mask: part of the data set's fingerprint")
    scale: float = Field(1.0, description="true value = stored x scale, a power of two")


class DatasetInfo(Config):
    """The content of `dataset.json`."""

    format_version: int = FORMAT_VERSION
    name: str
    kind: Literal["interactions"] = "interactions"
    licence: str | None = None
    source: Source
    counts: dict[str, int]
    has_time: bool
    has_order: bool = False
    has_rating: bool = False
    sensitive: list[str] = Field([])
    checksums: dict[str, str]
    features: dict[str, FeatureInfo] = Field({})
    planted: dict[str, Any] | None = None
    notices: list[str] = Field([])


class Generation(Config):
    """A data set before rows were appended: the first rows of its tables, by the columns that it had."""

    info: DatasetInfo
    columns: dict[str, list[str]] = Field(description="table -> its columns at the time")
