"""Values of options that several commands read alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sensorium.core.errors import ConfigError
from sensorium.core.registry import did_you_mean


def read_value(text: str) -> Any:
    """Read an option as YAML: a name, a number, or a mapping such as `{name: cold_items, ratio: 0.1}`.

    Raises:
        ConfigError: It is not YAML.
    """
    from sensorium.core.config import apply_overrides

    return apply_overrides({}, [f"value={text}"])["value"]


def one_of(option: str, value: str, known: Sequence[str]) -> str:
    """Return the value of an option that has a few.

    Raises:
        ConfigError: It is none of them; the message holds the nearest.
    """
    if value not in known:
        raise ConfigError(f"{option} {value}: not known{did_you_mean(value, known)} (known: {', '.join(known)})")
    return value


def split_list(text: str | None) -> list[str] | None:
    """Return the parts of "a,b,c" without spaces around them; None of nothing."""
    parts = [part.strip() for part in (text or "").split(",") if part.strip()]
    return parts or None
