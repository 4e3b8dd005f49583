"""From records to means: one dimension, all models, with intervals, counts, and what could not be read.

    interval   95 % of draws of *prompts* with replacement; videos of one prompt are never drawn apart
    bounds     the mean over all cells with every cell without a score at the lowest level, and at the highest

Cells without a score never enter a mean. Failures are rarely random: they fall on hard cells. So an order that they
could turn round is undetermined. Two models are when their null shares differ by more than 10 points, or when one of
them has nulls and their bounds meet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import DataError
from sensorium.core.seeds import numpy_generator
from sensorium.judging.dimensions import Dimension
from sensorium.judging.records import JudgeName, Record

Floats = npt.NDArray[np.float64]
Which = Literal["common", "available"]

INCOMPLETE = 0.02  # share of cells without a score above which a board is marked
RESAMPLES = 2000


@dataclass(frozen=True)
class ScoreTable:
    """The scores of one dimension as an array.

    Attributes:
        groups: (prompt_id, sample) of each row, sorted.
        models: Of each column, sorted.
        scores: float [groups, models]; NaN where there is no score.
        cells: bool [groups, models]; whether there is a video at all.
    """

    groups: tuple[tuple[str, int], ...]
    models: tuple[str, ...]
    scores: Floats
    cells: npt.NDArray[np.bool_]

    @property
    def prompts(self) -> npt.NDArray[np.int64]:
        """The number of each row's prompt."""
        return np.unique(np.array([prompt for prompt, _ in self.groups]), return_inverse=True)[1].astype(np.int64)

    @property
    def read(self) -> npt.NDArray[np.bool_]:
        """Which cells have a score: bool [groups, models]."""
        return ~np.isnan(self.scores)


@dataclass(frozen=True)
class ModelMean:
    """One model in one dimension.

    Attributes:
        model: Its name.
        mean: Over the cells that count; None where none does.
        interval: Of the mean; None with it.
        n: How many cells count.
        cells: How many videos there are.
        nulls: How many of them have no score.
        bounds: The mean over all cells with every null at the lowest and at the highest level.
    """

    model: str
    mean: float | None
    interval: tuple[float, float] | None
    n: int
    cells: int
    nulls: int
    bounds: tuple[float, float]

    @property
    def null_share(self) -> float:
        """Share of videos without a score."""
        return self.nulls / self.cells


@dataclass(frozen=True)
class DimensionMeans:
    """All models in one dimension.

    Attributes:
        dimension: Its id.
        family: static, dynamic or alignment.
        scale: Lowest and highest level.
        judge: Who judged.
        which: `common`: only groups that all models have a score in; `available`: whatever a model has.
        models: Sorted by name.
        undetermined: Pairs of models whose order the cells without a score could turn round.
        draws: float [draws, models], means of resampled prompts, NaN where a draw holds none of a model's cells.
        reasons: How many cells have no score, by status and reason.
    """

    dimension: str
    family: str
    scale: tuple[int, int]
    judge: JudgeName
    which: Which
    models: tuple[ModelMean, ...]
    undetermined: frozenset[frozenset[str]]
    draws: Floats
    reasons: Mapping[tuple[str, str], int]

    @property
    def nulls(self) -> int:
        """Cells without a score, over all models."""
        return sum(model.nulls for model in self.models)

    @property
    def cells(self) -> int:
        """Cells, over all models."""
        return sum(model.cells for model in self.models)

    @property
    def incomplete(self) -> bool:
        """Whether more than 2 % of the cells have no score."""
        return self.nulls > INCOMPLETE * self.cells

    @property
    def unordered(self) -> frozenset[str]:
        """Models that stand in an undetermined pair: they have no rank."""
        return frozenset(model for pair in self.undetermined for model in pair)

    def normalised(self, model: str) -> float | None:
        """Return a model's mean on 0..1 of the scale."""
        mean = next(entry.mean for entry in self.models if entry.model == model)
        low, high = self.scale
        return None if mean is None else (mean - low) / (high - low)

    def share_above(self, first: str, second: str) -> float:
        """Return the share of draws of prompts in which the first model's mean lies above the second's."""
        names = [entry.model for entry in self.models]
        return float((self.draws[:, names.index(first)] > self.draws[:, names.index(second)]).mean())


def means_of(
    records: Iterable[Record],
    dimension: Dimension,
    *,
    which: Which = "common",
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> DimensionMeans | None:
    """Return the means of one dimension.

    Args:
        records: Those of any dimensions; others are left out.
        dimension: Which.
        which: Which cells count.
        seed: Of the draws.
        resamples: Number of draws.

    Returns:
        None where the judge supports none of its cells that could be read: it has no place on a board then.

    Raises:
        DataError: The records are of several judges, or there are none.
    """
    own = [record for record in records if record.dimension == dimension.id]
    if not own:
        raise DataError(f"there are no records of '{dimension.id}'")
    judge = only_judge(own)
    statuses = {record.status for record in own}
    if "unsupported" in statuses and statuses <= {"unsupported", "error"}:
        return None
    table = score_table(own)
    counted = table.read
    if which == "common":
        counted = counted & counted.all(axis=1, keepdims=True)
    draws = _draws(table, counted, seed, resamples)
    models = tuple(_model(table, counted, draws, place, dimension) for place in range(len(table.models)))
    reasons = Counter[tuple[str, str]]((one.status, one.reason) for one in own if one.score is None)
    scale = (dimension.low, dimension.high)
    return DimensionMeans(
        dimension.id, dimension.family, scale, judge, which, models, undetermined_pairs(models), draws, dict(reasons)
    )


def only_judge(records: Sequence[Record]) -> JudgeName:
    """Return the one judge of some records.

    Raises:
        DataError: There are several: another judge, transport, sampler or rubric gives other numbers.
    """
    judges = sorted({record.judge for record in records}, key=lambda judge: (judge.family, judge.id))
    if len(judges) > 1:
        names = "; ".join(f"{judge.id} ({judge.family}, {judge.protocol_version})" for judge in judges)
        raise DataError(
            f"scores of different judges or rubrics never share a board, '{records[0].dimension}' has {names}: "
            "make one board for each"
        )
    return judges[0]


def score_table(records: Sequence[Record]) -> ScoreTable:
    """Return the scores of one dimension's records as an array."""
    groups = sorted({(record.prompt_id, record.sample) for record in records})
    models = sorted({record.model for record in records})
    row = {group: place for place, group in enumerate(groups)}
    column = {model: place for place, model in enumerate(models)}
    scores = np.full((len(groups), len(models)), np.nan)
    cells = np.zeros(scores.shape, dtype=bool)
    for record in records:
        place = row[record.prompt_id, record.sample], column[record.model]
        if cells[place]:
            raise DataError(f"two records of one cell: {record.key}")
        cells[place] = True
        scores[place] = np.nan if record.score is None else record.score
    return ScoreTable(tuple(groups), tuple(models), scores, cells)


def _draws(table: ScoreTable, counted: npt.NDArray[np.bool_], seed: int, resamples: int) -> Floats:
    """Return the models' means over draws of prompts, the same draws for all: float [draws, models]."""
    prompts = table.prompts
    n = int(prompts.max()) + 1
    total, count = np.zeros((n, len(table.models))), np.zeros((n, len(table.models)))
    np.add.at(total, prompts, np.where(counted, table.scores, 0.0))
    np.add.at(count, prompts, counted.astype(np.float64))
    drawn = numpy_generator(seed, "prompts", n).multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64)
    above, below = drawn @ total, drawn @ count
    return np.asarray(np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0))


def _model(
    table: ScoreTable, counted: npt.NDArray[np.bool_], draws: Floats, place: int, dimension: Dimension
) -> ModelMean:
    scores, used, cells = table.scores[:, place], counted[:, place], int(table.cells[:, place].sum())
    read = table.read[:, place]
    nulls = cells - int(read.sum())
    total = float(scores[read].sum())
    bounds = (total + nulls * dimension.low) / cells, (total + nulls * dimension.high) / cells
    if not used.any():
        return ModelMean(table.models[place], None, None, 0, cells, nulls, bounds)
    low, high = np.nanquantile(draws[:, place], [0.025, 0.975])
    mean = float(scores[used].mean())
    return ModelMean(table.models[place], mean, (float(low), float(high)), int(used.sum()), cells, nulls, bounds)


def undetermined_pairs(models: Sequence[ModelMean]) -> frozenset[frozenset[str]]:
    """Return the pairs whose order the cells without a score could turn round."""
    return frozenset(
        frozenset({first.model, second.model})
        for first, second in combinations(models, 2)
        if _unlike_nulls(first, second) or _bounds_meet(first, second)
    )


def _unlike_nulls(first: ModelMean, second: ModelMean) -> bool:
    """Whether null shares differ by more than 10 points; in whole numbers, since 10 points are not more than 10."""
    apart = abs(first.nulls * second.cells - second.nulls * first.cells)
    return 10 * apart > first.cells * second.cells


def _bounds_meet(first: ModelMean, second: ModelMean) -> bool:
    """Whether bounds meet because of nulls; without any, equal means are a tie."""
    if not first.nulls and not second.nulls:
        return False
    return first.bounds[0] <= second.bounds[1] + 1e-12 and second.bounds[0] <= first.bounds[1] + 1e-12
