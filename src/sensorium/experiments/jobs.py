"""Which kinds of run there are. A room's job is one class and one line here; `run`, `resume` and the command line then
know it.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Protocol

from sensorium.core.config import Config
from sensorium.core.errors import ConfigError
from sensorium.core.registry import did_you_mean
from sensorium.core.rundir import RunDirectory

# By the key `kind` of a configuration: where its class is found, imported when it is asked for.
JOBS = {
    "recommend": "sensorium.experiments.recommending:RecommendJob",
    "judge": "sensorium.judging.job:JudgeJob",
    "lift": "sensorium.lifting.generation.job:LiftJob",
    "splat": "sensorium.lifting.splat_job:SplatJob",
    "trace": "sensorium.tracing.job:TraceJob",
}


class Job(Protocol):
    """One piece of work that fills a run directory and may be killed at any moment.

    The constructor takes the checked config and does nothing costly.
    """

    Config: ClassVar[type[Config]]

    def __init__(self, config: Any) -> None: ...

    def folder_name(self) -> str:
        """Return the name of the default folder: readable, and another one when any key differs."""
        ...

    def prepare(self, run: RunDirectory | None) -> None:
        """Open and check everything that may be refused, before a folder is made.

        Args:
            run: The folder that is continued, None for a new run.

        Raises:
            SensoriumError: The configuration does not fit the data, or the data are not those that the run began with.
        """
        ...

    def work(self, run: RunDirectory) -> None:
        """Go on from wherever the run stands, and end with its `result.json`."""
        ...

    def write_report(self, path: Path) -> None:
        """Write `report.html` of a complete run."""
        ...


def job_class(tree: Mapping[str, Any], source: str) -> type[Job]:
    """Return the class that does what a configuration asks for.

    Raises:
        ConfigError: There is no such kind; the message lists those that there are.
    """
    kind = tree.get("kind", "recommend")
    if kind not in JOBS:
        raise ConfigError(
            f"{source}: kind: '{kind}' is not a job{did_you_mean(str(kind), JOBS)} (known: {', '.join(JOBS)})"
        )
    module, _, name = JOBS[kind].partition(":")
    found: type[Job] = getattr(import_module(module), name)
    return found
