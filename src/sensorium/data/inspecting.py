"""What is in a data set, seen before training: counts, the long tail, time, what is missing, what was set aside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from sensorium.data.columns import MEDIA
from sensorium.data.dataset import Dataset

QUANTILES = (0.0, 0.25, 0.5, 0.75, 0.95, 1.0)
SAMPLE = 12  # items that are shown
SHOWN_REJECTED = 20  # rows that were set aside


@dataclass(frozen=True)
class Inspection:
    """The facts about a data set.

    Attributes:
        name: Its name.
        licence: Its terms, or None.
        counts: Users, items, rows, and what the import counted.
        density: Rows over users x items.
        rows_per_user: Quantiles of the number of rows: of `QUANTILES`, users without a row included.
        rows_per_item: The same for items.
        head_share: Share of all rows that the most popular tenth of the items holds.
        span: First and last time as ISO dates, or None without time.
        tied_share: Share of rows that share user and time with another, or None without time.
        repeated_pairs: Rows whose (user, item) pair stands in an earlier row.
        coverage: By content column and feature set, the number of items that have it.
        rejected: By reason, what the import set aside.
        sensitive: By sensitive column, the number of users of each class.
        planted: What is known of a made world, and the share of planted noise, or None.
        sample: Some items: id, title, media and rows, spread over the popularity.
        notices: Sentences that people should read.
        popularity: int64 [I], rows of each item, most first: the long tail.
        months: Rows by month ("2001-09"), oldest first; empty without time.
        features: By feature set: its width, the items that have it, and what made it ("unknown" where nobody said).
        rejected_rows: The first rows that were set aside: file, row, column, reason, detail.
        earlier: Rows of each state before rows were appended, the oldest first.
    """

    name: str
    licence: str | None
    counts: dict[str, int]
    density: float
    rows_per_user: dict[float, int]
    rows_per_item: dict[float, int]
    head_share: float
    span: tuple[str, str] | None
    tied_share: float | None
    repeated_pairs: int
    coverage: dict[str, int]
    rejected: dict[str, int]
    sensitive: dict[str, dict[str, int]]
    planted: dict[str, Any] | None
    sample: pl.DataFrame
    notices: list[str]
    popularity: np.ndarray[Any, np.dtype[np.int64]]
    months: dict[str, int]
    features: dict[str, tuple[int, int, str]]
    rejected_rows: pl.DataFrame
    earlier: list[int]


def inspect(dataset: Dataset) -> Inspection:
    """Look at a data set. Its tables are aggregated lazily; nothing is changed."""
    rows = dataset.interactions()
    columns = rows.collect_schema().names()
    per_user = _counts(rows, "user", dataset.n_users)
    per_item = _counts(rows, "item", dataset.n_items)
    popular = np.sort(per_item)[::-1]
    pair = pl.col("user").cast(pl.Int64) * dataset.n_items + pl.col("item")
    pairs = rows.select(pair.n_unique()).collect().item()
    return Inspection(
        name=dataset.name,
        licence=dataset.info.licence,
        counts=dict(dataset.info.counts),
        density=dataset.n_interactions / (dataset.n_users * dataset.n_items),
        rows_per_user=_quantiles(per_user),
        rows_per_item=_quantiles(per_item),
        head_share=float(popular[: -(-len(popular) // 10)].sum() / max(popular.sum(), 1)),
        span=_span(rows) if "timestamp" in columns else None,
        tied_share=_tied_share(rows, dataset.n_interactions) if "timestamp" in columns else None,
        repeated_pairs=dataset.n_interactions - int(pairs),
        coverage=_coverage(dataset),
        rejected=_by_value(dataset.rejected(), "reason"),
        sensitive={name: _by_value(dataset.users(), name) for name in dataset.info.sensitive},
        planted=_planted(dataset, rows, columns),
        sample=_sample(dataset, per_item),
        notices=list(dataset.info.notices),
        popularity=popular,
        months=_months(rows) if "timestamp" in columns else {},
        features={
            name: (info.dim, info.present, _made_by(info.provenance)) for name, info in dataset.info.features.items()
        },
        rejected_rows=dataset.rejected().head(SHOWN_REJECTED).collect(),
        earlier=[past.n_interactions for past in reversed(dataset.earlier())],
    )


def _counts(rows: pl.LazyFrame, column: str, n: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    found = rows.group_by(column).len().collect()
    counts = np.zeros(n, dtype=np.int64)
    counts[found[column].to_numpy()] = found["len"].to_numpy()
    return counts


def _quantiles(counts: np.ndarray[Any, np.dtype[np.int64]]) -> dict[float, int]:
    return {share: int(np.quantile(counts, share, method="lower")) for share in QUANTILES}


def _span(rows: pl.LazyFrame) -> tuple[str, str]:
    moment = pl.from_epoch("timestamp", time_unit="ms")
    first, last = rows.select(moment.min().alias("first"), moment.max().alias("last")).collect().row(0)
    return first.date().isoformat(), last.date().isoformat()


def _months(rows: pl.LazyFrame) -> dict[str, int]:
    month = pl.from_epoch("timestamp", time_unit="ms").dt.strftime("%Y-%m").alias("month")
    return dict(rows.group_by(month).len().sort("month").collect(engine="streaming").iter_rows())


def _made_by(provenance: Any) -> str:
    """Return what made a feature set, in a few words."""
    if not isinstance(provenance, dict):
        return str(provenance)
    encoder = provenance.get("encoder", "unknown")
    name = encoder.get("name", "unknown") if isinstance(encoder, dict) else str(encoder)
    return f"{name} ({provenance['file']})" if "file" in provenance else name


def _tied_share(rows: pl.LazyFrame, n: int) -> float:
    tied = rows.group_by("user", "timestamp").len().filter(pl.col("len") > 1).select(pl.col("len").sum())
    return float(tied.collect().item() or 0) / max(n, 1)


def _coverage(dataset: Dataset) -> dict[str, int]:
    columns = [name for name in ("title", "description", *MEDIA) if name in dataset.items().collect_schema().names()]
    given = dataset.items().select(pl.col(columns).count()).collect().row(0, named=True) if columns else {}
    encoded = {f"features {name}": info.present for name, info in dataset.info.features.items()}
    return {**given, **encoded}


def _by_value(frame: pl.LazyFrame, column: str) -> dict[str, int]:
    found = (
        frame.group_by(pl.col(column).cast(pl.String).fill_null("unknown")).len().sort("len", column, descending=True)
    )
    return dict(found.collect().iter_rows())


def _planted(dataset: Dataset, rows: pl.LazyFrame, columns: list[str]) -> dict[str, Any] | None:
    if dataset.info.planted is None:
        return None
    noise = (
        {"noise share of the rows": rows.select(pl.col("planted").mean()).collect().item()}
        if "planted" in columns
        else {}
    )
    return {**dataset.info.planted, **noise}


def _sample(dataset: Dataset, per_item: np.ndarray[Any, np.dtype[np.int64]]) -> pl.DataFrame:
    """Return items at equal steps of the popularity order: item, item_id, title, rows, image, audio, video."""
    order = np.argsort(-per_item, kind="stable")
    chosen = order[np.unique(np.linspace(0, len(order) - 1, min(SAMPLE, len(order))).astype(np.int64))]
    columns = dataset.items().collect_schema().names()
    content = [name for name in ("description", *MEDIA) if name in columns]
    known = dataset.items().select(content).collect() if content else pl.DataFrame()
    empty = pl.Series([None] * len(chosen), dtype=pl.String)
    return pl.DataFrame(
        {
            "item": chosen,
            "item_id": dataset.item_ids().gather(chosen),
            "title": dataset.titles().gather(chosen),
            "rows": per_item[chosen],
            **{name: known[name].gather(chosen) if name in content else empty for name in ("description", *MEDIA)},
        }
    )
