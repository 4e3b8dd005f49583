"""Prompts: the suite that ships, and any others, on every dimension.

The suite has 419 prompts, each for one to three dimensions (Video-Bench; see NOTICE beside this file). Prompts of one's
own are a text file with one on each line, JSON Lines of `prompt` with optional `prompt_id` and `dimensions`, or a list
in the configuration; without `dimensions` they are judged on every dimension of the run.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sensorium.core.errors import DataError
from sensorium.judging.dimensions import Dimension, dimension

SUITE = Path(__file__).parent / "video_bench.jsonl"


@dataclass(frozen=True)
class Prompt:
    """One text that videos are made from.

    Attributes:
        id: Unique in its list.
        text: As it was given to the models.
        dimensions: Ids of the dimensions that it is meant for; empty means all.
    """

    id: str
    text: str
    dimensions: tuple[str, ...] = ()

    def is_for(self, wanted: Dimension) -> bool:
        """Return whether videos of this prompt are judged in a dimension."""
        return not self.dimensions or bool(set(wanted.names) & set(self.dimensions))


@cache
def suite() -> tuple[Prompt, ...]:
    """Return the 419 prompts that ship, in their order."""
    return tuple(read_prompts(SUITE))


def read_prompts(path: str | Path) -> list[Prompt]:
    """Read prompts from a text file or from JSON Lines.

    Raises:
        DataError: The file is missing, a line is no prompt, or two are the same.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: it should hold prompts") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error}") from None
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    if path.suffix in (".jsonl", ".json"):
        return _distinct([_parsed(line, f"{path} line {number}", number) for number, line in numbered], str(path))
    return _distinct([Prompt(f"p{number:03d}", line.strip()) for number, line in numbered], str(path))


def listed_prompts(texts: Sequence[str]) -> list[Prompt]:
    """Return prompts of a configuration's list, with ids by their place: p001, p002, ...

    Raises:
        DataError: Two are the same, or one is empty.
    """
    return _distinct([Prompt(f"p{number:03d}", text) for number, text in enumerate(texts, start=1)], "prompts")


def _parsed(line: str, where: str, number: int) -> Prompt:
    try:
        tree = json.loads(line)
        names = tuple(dimension(str(name)).id for name in tree.get("dimensions", []))
        return Prompt(str(tree.get("prompt_id", f"p{number:03d}")), str(tree["prompt"]), names)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(
            f"{where} is no prompt: "
            f'write {{"prompt": "...", "prompt_id": "...", "dimensions": [...]}}; the last two may '
            "be left out"
        ) from None


def _distinct(prompts: list[Prompt], source: str) -> list[Prompt]:
    for kind, values in (("id", [p.id for p in prompts]), ("text", [folded(p.text) for p in prompts])):
        seen: set[str] = set()
        for value in values:
            if not value:
                raise DataError(f"{source}: a prompt has an empty {kind}")
            if value in seen:
                raise DataError(f"{source}: two prompts have the same {kind}, '{value[:80]}': keep one")
            seen.add(value)
    return prompts


def folded(text: str) -> str:
    """Return a text as prompts are compared: Unicode NFC, each run of whitespace one space, none at the ends."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def by_text(prompts: Iterable[Prompt]) -> dict[str, Prompt]:
    """Return prompts by their folded text."""
    return {folded(prompt.text): prompt for prompt in prompts}
