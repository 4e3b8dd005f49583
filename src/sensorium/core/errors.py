"""The few error types of the project. Each message is a sentence: what is wrong, where, and what to do.

The command line prints a `SensoriumError` as one line and exits with status 2; anything else is a bug and shows its
traceback.
"""

import importlib
from types import ModuleType


class SensoriumError(Exception):
    """Base of every error that a user can cause or mend."""


class ConfigError(SensoriumError):
    """A configuration that cannot be used: unknown key, wrong type, impossible combination."""


class DataError(SensoriumError):
    """Data that cannot be read, or that does not hold what was asked of it."""


class RunError(SensoriumError):
    """A run directory that is missing, locked, incomplete or of another version."""


class TrainingError(SensoriumError):
    """Training that cannot go on, for example because a loss is not finite."""


class ResourceError(SensoriumError):
    """Work that does not fit this machine."""


class UnknownNameError(SensoriumError):
    """A name that is in no registry."""


class MissingExtraError(SensoriumError):
    """An optional dependency that is not installed."""


def require(module: str, *, extra: str, purpose: str, instead: str = "") -> ModuleType:
    """Import an optional dependency, or say in one line how to get it.

    Args:
        module: Dotted name of the module to import.
        extra: The extra of this package that installs it.
        purpose: What it is needed for, as the subject of the sentence ("the gsplat back end").
        instead: What can be used without it, as a clause ("use --backend numba").

    Raises:
        MissingExtraError: The module is not installed; the message names the extra and the command.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and not module.startswith(error.name):
            raise  # the module is there, one of its own imports is broken: that is not a missing extra
        hint = f"; or {instead}" if instead else ""
        raise MissingExtraError(
            f"{purpose} needs the package '{module.split('.')[0]}', which is not installed: "
            f"pip install 'sensorium[{extra}]'{hint}"
        ) from None
