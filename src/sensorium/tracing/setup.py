"""From a configuration to what is trained: answers, split of the students, view of the training rows, model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sensorium.core.config import Component, build
from sensorium.core.errors import RunError
from sensorium.core.files import read_json, read_safetensors, write_json
from sensorium.core.rundir import RunDirectory
from sensorium.core.seeds import numpy_generator
from sensorium.tracing.averaging import Averaged, averaged
from sensorium.tracing.base import Tracer, TracingView, build_tracer
from sensorium.tracing.config import TraceConfig
from sensorium.tracing.data.catalogue import open_tracing
from sensorium.tracing.data.dataset import Answers, TracingDataset
from sensorium.tracing.data.splits import StudentSplit, split_students, tracing_view
from sensorium.tracing.expanded import expand
from sensorium.training.checkpoint import BEST_WEIGHTS

ORIGIN = "data.json"  # in a run's folder: the data that it began with


@dataclass(frozen=True)
class TraceSetup:
    """Everything that a run works with. The model sees the view and nothing else.

    Attributes:
        config: The configuration.
        dataset: Where the answers come from.
        answers: All rows that the protocol trains on and predicts.
        split: The three sides.
        view: What training may see.
        model: The tracer, beside the average of its weights where it has one.
    """

    config: TraceConfig
    dataset: TracingDataset
    answers: Answers
    split: StudentSplit
    view: TracingView
    model: Tracer | Averaged


def set_up(
    config: TraceConfig, dataset: TracingDataset | None = None, *, answers: Answers | None = None, fit: bool = True
) -> TraceSetup:
    """Open the data, divide the students, and build the model from the training rows.

    Args:
        config: The configuration.
        dataset: The data, where they are open already.
        answers: Other answers than the data set's (random labels), row by row the same otherwise.
        fit: False builds the model without rows, for a state that is loaded into it.

    Raises:
        DataError: The data cannot be read or divided as asked.
    """
    dataset = open_tracing(config.data.dataset) if dataset is None else dataset
    if answers is None:
        answers = dataset.answers(config.data.attempts)
    split = split_students(dataset, answers, config.data.split, seed=config.seed)
    if config.protocol == "pykt-expanded":
        answers = expand(answers).answers
    view = tracing_view(answers, split.train, seed=config.seed)
    chosen: Component = config.model
    seen = view if fit else without_rows(view)
    own: Any = chosen.config
    return TraceSetup(config, dataset, answers, split, view, averaged(build_tracer(chosen.target, seen, own)))


def without_rows(view: TracingView) -> TracingView:
    """Return a view with the counts and concepts, and no answers."""
    return replace(
        view,
        offsets=np.zeros(1, dtype=np.int64),
        question=view.question[:0],
        response=view.response[:0],
        time=None if view.time is None else view.time[:0],
    )


def random_labels(answers: Answers, *, seed: int = 0) -> Answers:
    """Return the same rows with fair coins for answers."""
    coins = numpy_generator(seed, "random labels").integers(0, 2, len(answers.response)).astype(np.int8)
    return replace(answers, response=coins)


# --- runs -----------------------------------------------------------------------------------------------------------


def write_origin(run: Path, config: TraceConfig, dataset: TracingDataset) -> None:
    """Write which data a run begins with."""
    root = dataset.root.resolve().as_posix()
    origin = {"dataset": config.data.dataset, "root": root, "tables": dataset.digest(), "features": {}}
    write_json(run / ORIGIN, origin)


def open_origin(run: Path, config: TraceConfig) -> TracingDataset:
    """Open the data that a run began with: where they were, or else by their name.

    Raises:
        RunError: They are not what they were.
    """
    file = run / ORIGIN
    known: dict[str, Any] = read_json(file) if file.exists() else {}
    root = known.get("root")
    dataset = open_tracing(root if root and Path(root).is_dir() else config.data.dataset)
    if known and dataset.digest() != known["tables"]:
        raise RunError(
            f"the data set '{config.data.dataset}' is another one than when {run} began: start a new run on it"
        )
    return dataset


def load_trained(path: str | Path) -> TraceSetup:
    """Open a tracing run with the weights that were selected, in evaluation mode.

    Raises:
        RunError: The folder holds no run of kind "trace", no weights, or the data have changed.
    """
    directory = RunDirectory.open(path)
    if directory.kind != "trace":
        raise RunError(f"{path} is a run of kind '{directory.kind}', not one of tracing")
    config = build(TraceConfig, directory.config, source=str(directory.path / "config.yaml"))
    weights = directory.path / BEST_WEIGHTS
    if not weights.exists():
        raise RunError(f"{path} holds no weights: continue it with 'sensorium resume {path}'")
    setup = set_up(config, open_origin(directory.path, config), fit=False)
    try:
        setup.model.load_state_dict(read_safetensors(weights))
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise RunError(f"{weights} does not fit '{config.model.name}' as it is in this release: {reason}") from None
    setup.model.eval()
    return setup
