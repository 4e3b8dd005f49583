"""Opening what a run left: its configuration, its data, and its model with the weights that were selected."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sensorium.core.config import build
from sensorium.core.errors import RunError
from sensorium.core.files import read_safetensors
from sensorium.core.rundir import RunDirectory
from sensorium.data.dataset import Dataset
from sensorium.data.splits import Split
from sensorium.data.view import TrainView
from sensorium.experiments.config import RunConfig
from sensorium.experiments.origin import Origin
from sensorium.experiments.setup import set_up
from sensorium.recommenders.base import Recommender
from sensorium.training.checkpoint import BEST_WEIGHTS


@dataclass(frozen=True)
class LoadedRun:
    """A run that can answer.

    Attributes:
        path: Its folder.
        config: Its configuration.
        dataset: The data set that it was trained on.
        split: How that was divided.
        view: What the model saw of it.
        model: In evaluation mode, with the selected weights.
    """

    path: Path
    config: RunConfig
    dataset: Dataset
    split: Split
    view: TrainView
    model: Recommender


def load_run(path: str | Path) -> LoadedRun:
    """Open a run with its best state so far; it need not be complete.

    Raises:
        RunError: The folder holds no run of kind "recommend", no good state was kept, or the data have
            changed.
        DataError: The data set is not there, or a file is damaged.
    """
    directory = RunDirectory.open(path)
    if directory.kind != "recommend":
        raise RunError(
            f"{path} is a run of kind '{directory.kind}': recommendations come from runs of kind 'recommend'"
        )
    config = build(RunConfig, directory.config, source=str(directory.path / "config.yaml"))
    weights = directory.path / BEST_WEIGHTS
    if not weights.exists():
        raise RunError(f"{path} holds no weights to answer with: {_why_none(directory, config)}")
    origin = Origin.read(directory.path)
    setup = set_up(config, origin.open(), list(origin.features))
    try:
        setup.model.load_state_dict(read_safetensors(weights))
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise RunError(f"{weights} does not fit '{config.model.name}' as it is in this release: {reason}") from None
    setup.model.eval()
    return LoadedRun(directory.path, config, setup.dataset, setup.split, setup.view, setup.model)


def _why_none(directory: RunDirectory, config: RunConfig) -> str:
    if config.training.checkpoint == "none":
        return "its configuration says training.checkpoint: none; run it with last+best"
    if directory.result is None:
        return (
            f"no state was good enough to keep before it stopped; continue it with 'sensorium resume {directory.path}'"
        )
    return "weights/best.safetensors was removed"
