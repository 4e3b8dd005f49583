"""Sensorium: from raw item content to recommendations you can train, trust and serve.

The calls that most people need are here. Each is imported when it is first used, so that `import sensorium` costs
nothing. The command line is a thin face over the same calls.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sensorium.data.appending import append_to_dataset as append_to_dataset
    from sensorium.data.catalogue import open_dataset as open_dataset
    from sensorium.data.demo import generate_demo as generate_demo
    from sensorium.data.features import add_features as add_features
    from sensorium.data.getting import get_dataset as get_dataset
    from sensorium.data.importing import import_dataset as import_dataset
    from sensorium.data.inspecting import inspect as inspect
    from sensorium.data.inspecting_page import write_inspection as write_inspection
    from sensorium.data.splits import make_split as make_split
    from sensorium.encoders.cache.states import open_states as open_states
    from sensorium.encoders.encode import encode as encode
    from sensorium.experiments.audit import audit as audit
    from sensorium.experiments.cells import run_experiment as run_experiment
    from sensorium.experiments.compare import compare as compare
    from sensorium.experiments.compare_page import write_comparison as write_comparison
    from sensorium.experiments.evaluating import evaluate as evaluate
    from sensorium.experiments.report import write_report as write_report
    from sensorium.experiments.run import load_run as load_run
    from sensorium.experiments.run import resume as resume
    from sensorium.experiments.run import run as run
    from sensorium.serving.export import recommend_all as recommend_all
    from sensorium.serving.recommend import recommend as recommend
    from sensorium.serving.recommend import score as score

__version__ = "0.1.0"

_CALLS = {
    "open_dataset": "sensorium.data.catalogue",
    "generate_demo": "sensorium.data.demo",
    "import_dataset": "sensorium.data.importing",
    "append_to_dataset": "sensorium.data.appending",
    "get_dataset": "sensorium.data.getting",
    "add_features": "sensorium.data.features",
    "inspect": "sensorium.data.inspecting",
    "write_inspection": "sensorium.data.inspecting_page",
    "make_split": "sensorium.data.splits",
    "encode": "sensorium.encoders.encode",
    "open_states": "sensorium.encoders.cache.states",
    "run": "sensorium.experiments.run",
    "resume": "sensorium.experiments.run",
    "load_run": "sensorium.experiments.run",
    "compare": "sensorium.experiments.compare",
    "write_comparison": "sensorium.experiments.compare_page",
    "write_report": "sensorium.experiments.report",
    "run_experiment": "sensorium.experiments.cells",
    "audit": "sensorium.experiments.audit",
    "evaluate": "sensorium.experiments.evaluating",
    "recommend": "sensorium.serving.recommend",
    "recommend_all": "sensorium.serving.export",
    "score": "sensorium.serving.recommend",
}

__all__ = ["__version__", *_CALLS]


def __getattr__(name: str) -> Any:
    if name not in _CALLS:
        raise AttributeError(f"module 'sensorium' has no attribute '{name}'")
    return getattr(import_module(_CALLS[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_CALLS])
