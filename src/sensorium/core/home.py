"""Where things live on a user's machine: the home of data sets and caches, and the folder of shared research data."""

import os
from pathlib import Path

from sensorium.core.errors import DataError


def home() -> Path:
    """Return `$SENSORIUM_HOME`, or `~/.local/share/sensorium`. The folder need not exist yet."""
    value = os.environ.get("SENSORIUM_HOME")
    return Path(value).expanduser() if value else Path.home() / ".local" / "share" / "sensorium"


def cache_home() -> Path:
    """Return the folder of things that can be made again at any time, such as item graphs."""
    return home() / "cache"


def shared_data() -> Path | None:
    """Return the folder named by `$SENSORIUM_DATA`, or None where the variable is not set.

    Raises:
        DataError: The variable is set, and names no folder.
    """
    value = os.environ.get("SENSORIUM_DATA")
    if not value:
        return None
    path = Path(value).expanduser()
    if not path.is_dir():
        raise DataError(
            f"SENSORIUM_DATA names {path}, which is not a folder: set it to the folder of research data sets"
        )
    return path
