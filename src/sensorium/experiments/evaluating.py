"""Any system's lists on a data set's split, by the names that the command line knows: the numbers that a run of them
would have.

Lists of a run are measured as the run measured them: its configuration says what the caller leaves out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from sensorium.core.config import Component, build
from sensorium.core.errors import ConfigError, RunError
from sensorium.core.rundir import RunDirectory
from sensorium.data.catalogue import open_dataset
from sensorium.data.dataset import Dataset
from sensorium.data.noise import add_noise
from sensorium.data.splits import TRAIN, Repeats, Split, make_split, users_of_items
from sensorium.evaluation.lists import evaluate_lists
from sensorium.evaluation.results import RankingResult
from sensorium.evaluation.selection import check_evaluation
from sensorium.evaluation.tasks import RankingTask, asks_users_often, ranking_task
from sensorium.experiments.config import RunConfig
from sensorium.experiments.origin import Origin

if TYPE_CHECKING:
    from sensorium.evaluation.histories import HistoryMask, RepeatPolicy

OWN_LISTS = "lists.parquet"


@dataclass(frozen=True)
class _Rules:
    """How lists are measured: the usual values, or those of a run. The names are those of `evaluate`.

    Attributes:
        by_history: Whether histories were asked, not user ids: what is masked is then the history.
    """

    ks: Sequence[int] = (5, 10, 20, 50)
    metrics: Sequence[str] = ("recall", "ndcg")
    mask: Literal["train", "train+valid"] = "train"
    history: HistoryMask = "full"
    repeat_policy: RepeatPolicy = "drop"
    repeats: Repeats = "first"
    split_seed: int = 0
    min_rating: float | None = None
    tie_seed: int = 0
    by_history: bool = False

    @classmethod
    def of(cls, config: RunConfig) -> _Rules:
        """Return those of a run."""
        data, evaluation, model = config.data, config.evaluation, config.model.target
        return cls(
            ks=evaluation.ks,
            metrics=evaluation.metrics,
            mask=evaluation.mask,
            history=evaluation.history,
            repeat_policy=evaluation.repeat_policy,
            repeats=config.repeats,
            split_seed=data.split_seed,
            min_rating=data.min_rating,
            tie_seed=evaluation.tie_seed,
            by_history=model.query_kind == "history",
        )


def evaluate(
    lists: pl.DataFrame | str | Path,
    data: Dataset | str | Path | None = None,
    split: Split | Component | Mapping[str, Any] | str | None = None,
    *,
    run: str | Path | None = None,
    ks: Sequence[int] | None = None,
    metrics: Sequence[str] | None = None,
    part: Literal["valid", "test"] = "test",
    mask: Literal["train", "train+valid"] | None = None,
    history: HistoryMask | None = None,
    repeat_policy: RepeatPolicy | None = None,
    repeats: Repeats | None = None,
    split_seed: int | None = None,
    min_rating: float | None = None,
    tie_seed: int | None = None,
) -> RankingResult:
    """Measure lists from a file or a table. Of a run's own `lists.parquet` it gives the run's own numbers.

    What is None is that of the run, or where no run is known the value that is named below.

    Args:
        lists: One row per recommended item: user_id, item_id, and rank or score. Where the split asks a user several
            times (`targets_per_user`), `turn` numbers the user's lists from 1, the oldest target first; targets that
            `repeat_policy` leaves out have no number.
        data: The data set whose ids the lists use, or its name or folder.
        split: The split, or its name, or its name and options.
        run: The folder of the run whose lists they are; of a file `lists.parquet` it is the one that it stands in.
        ks: The list lengths; 5, 10, 20, 50.
        metrics: Names of registered metrics; recall and ndcg.
        part: Which rows are the right answers.
        mask: What the lists were allowed to leave out, where user ids were asked; train.
        history: What of a history they were, where histories were asked: full, or window (what the split's `max_len`
            leaves). Without a run, to give it says that histories were asked.
        repeat_policy: What becomes of targets that the history holds already; drop.
        repeats: Which rows of a (user, item) pair count that stands again; all where histories were asked, else first.
        split_seed: Seed of the split; 0.
        min_rating: Rows below it count for nothing, as in the run's configuration; every row counts.
        tie_seed: Seed of the order of equal scores; 0.

    Raises:
        ConfigError: An unknown metric or split, no data or no split, or rules that do not go together.
        DataError: Lists that cannot be measured honestly, for example shorter than the largest k.
        RunError: There is no run, it is none of recommendations, or its data have changed.
    """
    directory = _run_of(lists, run)
    config = None if directory is None else build(RunConfig, directory.config, source=str(directory.path))
    given: dict[str, Any] = {
        "ks": ks,
        "metrics": metrics,
        "mask": mask,
        "history": history,
        "repeat_policy": repeat_policy,
        "repeats": repeats,
        "split_seed": split_seed,
        "min_rating": min_rating,
        "tie_seed": tie_seed,
    }
    base = _bare(history) if config is None else _Rules.of(config)
    rules = replace(base, **{name: value for name, value in given.items() if value is not None})
    check_evaluation(rules.ks, rules.metrics)
    dataset = _opened(data, directory)
    made, clean = _divided(dataset, split, config, rules)
    _check(made, rules, given, None if config is None else base)
    if part == "valid" and mask is None:
        rules = replace(rules, mask="train")
    train = clean.part(TRAIN)
    return evaluate_lists(
        lists,
        dataset,
        made,
        ks=rules.ks,
        metrics=rules.metrics,
        task=_task(dataset, made, part, rules),
        item_count=users_of_items(train.user, train.item, clean.n_items),
        tie_seed=rules.tie_seed,
    )


def _bare(history: HistoryMask | None) -> _Rules:
    """Return the usual rules, of lists that histories asked for where one is given."""
    return _Rules() if history is None else _Rules(repeats="all", by_history=True)


def _run_of(lists: pl.DataFrame | str | Path, run: str | Path | None) -> RunDirectory | None:
    """Return the run whose lists they are, where that is known."""
    if run is None:
        if isinstance(lists, pl.DataFrame) or Path(lists).name != OWN_LISTS:
            return None
        run = Path(lists).parent
        if not (run / "config.yaml").is_file():
            return None
    directory = RunDirectory.open(run)
    if directory.kind != "recommend":
        raise RunError(f"{run} is a run of kind '{directory.kind}': lists come from runs of kind 'recommend'")
    return directory


def _opened(data: Dataset | str | Path | None, directory: RunDirectory | None) -> Dataset:
    if isinstance(data, Dataset):
        return data
    if data is not None:
        return open_dataset(data)
    if directory is None:
        raise ConfigError("lists of no run: name the data set whose ids they use")
    return Origin.read(directory.path).open()


def _divided(
    dataset: Dataset,
    split: Split | Component | Mapping[str, Any] | str | None,
    config: RunConfig | None,
    rules: _Rules,
) -> tuple[Split, Split]:
    """Return the split, and the one whose train rows a model saw: they differ where a run's noise was masked alone."""
    if isinstance(split, Split):
        return split, split
    if split is None and config is None:
        raise ConfigError("lists of no run: name the split")
    chosen = config.data.split if split is None and config is not None else split
    clean = make_split(
        dataset,
        chosen,  # type: ignore[arg-type]
        seed=rules.split_seed,
        min_rating=rules.min_rating,
        repeats=rules.repeats,
    )
    noise = config.data.noise if split is None and config is not None else None
    if noise is None or config is None:
        return clean, clean
    made = add_noise(clean, noise, seed=config.seed)
    return made, made if noise.trained else clean


def _check(split: Split, rules: _Rules, given: Mapping[str, Any], own: _Rules | None) -> None:
    """Refuse rules that nothing would follow, and those that would give lists in turn to other targets.

    Args:
        split: The split.
        rules: How the lists are to be measured.
        given: What the caller said, None where nothing.
        own: The rules of the run, where one is known.

    Raises:
        ConfigError: The message names the rule.
    """
    often = asks_users_often(split)
    of_histories = [name for name in ("history", "repeat_policy") if given[name] is not None]
    if (rules.by_history or often) and given["mask"] is not None:
        raise ConfigError("mask: where histories are masked, history says what of them: leave mask out")
    if of_histories and not (rules.by_history or often):
        raise ConfigError(f"{of_histories[0]}: these lists were asked for by user ids, not by a history: leave it out")
    for name in of_histories if often and own is not None else ():
        if given[name] != getattr(own, name):
            raise ConfigError(
                f"{name}: this run numbered the lists of each user under {getattr(own, name)}, and {given[name]} "
                "would ask for other targets: leave it out"
            )


def _task(dataset: Dataset, split: Split, part: Literal["valid", "test"], rules: _Rules) -> RankingTask:
    """Return what a run under these rules is asked; see `measuring.asked`."""
    if not rules.by_history and not asks_users_often(split):
        return ranking_task(split, part, mask=rules.mask, candidates=split.candidates)
    from sensorium.evaluation.histories import history_task  # torch is slow to import

    return history_task(dataset, split, part, repeat_policy=rules.repeat_policy, mask=rules.history)[1]
