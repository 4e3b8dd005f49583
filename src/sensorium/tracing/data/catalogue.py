"""Tracing data sets by name: a path, a name below the data home, or a name that is imported or made on first use."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from sensorium.core.config import build
from sensorium.core.errors import DataError
from sensorium.core.registry import did_you_mean
from sensorium.data.catalogue import datasets_home, made_once, research_folder
from sensorium.data.schema import DESCRIPTION
from sensorium.tracing.data.dataset import TracingDataset
from sensorium.tracing.data.importing import TracingImportConfig, import_tracing

logger = logging.getLogger(__name__)

# Name -> folder below $SENSORIUM_DATA, and how it is read.
RESEARCH_SETS: dict[str, tuple[str, dict[str, Any]]] = {
    "assist2009": ("kt/assist2009_gervet", {"reader": "gervet"}),
    "assist2015": ("kt/assist2015_pykt", {"reader": "pykt"}),
    "assist2017": ("kt/assist2017_akt", {"reader": "akt"}),
    "statics": ("kt/statics_akt", {"reader": "akt"}),
}
DEMO = "learners"


def open_tracing(name_or_path: str | Path) -> TracingDataset:
    """Open a tracing data set.

    Args:
        name_or_path: A folder; or a name below `$SENSORIUM_HOME/datasets`; or "learners", which is simulated on first
            use; or the name of a research set, which is imported from `$SENSORIUM_DATA` on first use.

    Raises:
        DataError: There is no such data set; the message names the nearest, or what is missing.
    """
    text = str(name_or_path)
    if Path(text).is_dir():
        return TracingDataset.open(text)
    named = datasets_home() / text
    if "/" not in text and (named / DESCRIPTION).exists():
        return TracingDataset.open(named)
    if text == DEMO:
        from sensorium.tracing.data.simulated import SimulationConfig, simulate

        logger.info("simulating learners in %s", named)
        return TracingDataset.open(made_once(named, lambda: simulate(named, SimulationConfig())))
    if text in RESEARCH_SETS:
        return TracingDataset.open(made_once(named, lambda: _import_research_set(text, named)))
    known = sorted({DEMO, *RESEARCH_SETS})
    raise DataError(
        f"there is no tracing data set '{text}'{did_you_mean(text, known)} (a folder, or one of: {', '.join(known)})"
    )


def _import_research_set(name: str, out: Path) -> TracingDataset:
    folder, tree = RESEARCH_SETS[name]
    return import_tracing(
        research_folder(name, folder),
        out,
        build(TracingImportConfig, {**tree, "name": name}, source=f"data set {name}"),
    )
