"""Which videos there are: a manifest that names them, or a folder laid out as Video-Bench releases its videos.

A manifest is CSV or JSON Lines with the columns `model, prompt_id, prompt, sample, path` and, if wanted, `fps`. Paths
are relative to the root (by default the manifest's own folder) and stay below it. File names cannot hold long prompts
or slashes; a manifest can.

A folder holds `<root>/<folder>/<model>/<prompt>.mp4` and `<prompt>_<k>.mp4`, where the folder is that of a dimension.

Prompts are matched exactly, after Unicode NFC and folding of whitespace. What matches nothing, and which cells are
missing, is told before any call is made.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sensorium.core.errors import DataError
from sensorium.judging.cells import VideoCell
from sensorium.judging.dimensions import Dimension
from sensorium.judging.prompts import Prompt, by_text, folded

COLUMNS = ("model", "prompt_id", "prompt", "sample", "path")
SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".gif", ".m4v")
SHOWN = 10  # entries of a list in a message


@dataclass(frozen=True)
class Matched:
    """A video, and the dimensions that its prompt and its folder allow.

    Attributes:
        cell: The video.
        dimensions: Ids.
    """

    cell: VideoCell
    dimensions: tuple[str, ...]


@dataclass(frozen=True)
class Unmatched:
    """A file whose prompt is not among those that are judged, and the nearest that is ("" beyond the first ten)."""

    file: str
    prompt: str
    nearest: str


@dataclass(frozen=True)
class Found:
    """What a manifest or a folder came to.

    Attributes:
        videos: Sorted by prompt, sample and model.
        unmatched: Files that belong to no prompt.
        missing: (dimension, prompt_id, sample, model) without a video, though the model or the others have some.
    """

    videos: tuple[Matched, ...]
    unmatched: tuple[Unmatched, ...]
    missing: tuple[tuple[str, str, int, str], ...]

    @property
    def models(self) -> list[str]:
        """Names of the models, sorted."""
        return sorted({video.cell.model for video in self.videos})

    def cells(self, dimension: Dimension) -> list[VideoCell]:
        """Return the videos that are judged in a dimension."""
        return [video.cell for video in self.videos if dimension.id in video.dimensions]


@dataclass(frozen=True)
class _Entry:
    """A file before its prompt is known: texts that may be its prompt, the most literal first, each with a sample."""

    file: str
    path: Path
    model: str
    readings: tuple[tuple[str, int], ...]
    folder: str | None = None
    prompt_id: str | None = None
    fps: float | None = None


def find_videos(
    dimensions: Sequence[Dimension],
    prompts: Sequence[Prompt] | None,
    *,
    manifest: str | Path | None = None,
    root: str | Path | None = None,
) -> Found:
    """Match videos with prompts.

    Args:
        dimensions: Those of the run.
        prompts: Those of the run; None takes the manifest's own, for every dimension.
        manifest: CSV or JSON Lines; without one the root is searched.
        root: Where the videos lie.

    Raises:
        DataError: Nothing matches (the message holds each file's nearest prompt), a row cannot be read, or two files
            claim the same cell.
    """
    if manifest is not None:
        entries = _manifest_entries(Path(manifest), Path(root) if root is not None else Path(manifest).parent)
    else:
        assert root is not None
        entries = _folder_entries(Path(root), dimensions)
    known = list(prompts) if prompts is not None else _own_prompts(entries, str(manifest))
    texts = by_text(known)
    videos: list[Matched] = []
    unmatched: list[Unmatched] = []
    for one in entries:
        reading = next((reading for reading in one.readings if reading[0] in texts), None)
        if reading is None:
            unmatched.append(_unmatched(one, list(texts.values()) if len(unmatched) < SHOWN else []))
            continue
        prompt = texts[reading[0]]
        ids = tuple(d.id for d in dimensions if prompt.is_for(d) and one.folder in (None, d.folder_name, *d.names))
        cell = VideoCell(one.model, prompt.id, prompt.text, reading[1], one.path, one.fps)
        videos.append(Matched(cell, ids))
    _refuse_empty(videos, unmatched, manifest or root)
    _refuse_doubles(videos)
    videos.sort(key=lambda video: (video.cell.prompt_id, video.cell.sample, video.cell.model))
    return Found(tuple(videos), tuple(unmatched), tuple(_missing(videos, known, dimensions)))


# --- reading --------------------------------------------------------------------------------------------------------


def _manifest_entries(path: Path, root: Path) -> list[_Entry]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: it should be a manifest of videos") from None
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: {error}") from None
    rows = _json_rows(text, path) if path.suffix == ".jsonl" else _csv_rows(text, path)
    return [_manifest_entry(row, f"{path} line {number}", root) for number, row in rows]


def _csv_rows(text: str, path: Path) -> list[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text))
    if lacking := [name for name in COLUMNS if name not in (reader.fieldnames or [])]:
        raise DataError(
            f"{path} lacks {', '.join(lacking)}: "
            f"a manifest is CSV or .jsonl with the columns {', '.join(COLUMNS)}, and "
            f"fps if wanted; found {', '.join(reader.fieldnames or ['nothing'])}"
        )
    return [(reader.line_num, row) for row in reader]


def _json_rows(text: str, path: Path) -> list[tuple[int, Mapping[str, Any]]]:
    rows: list[tuple[int, Mapping[str, Any]]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            lacking = [name for name in COLUMNS if name not in row]
        except (ValueError, TypeError):
            raise DataError(f"{path} line {number} is not a JSON object") from None
        if lacking:
            raise DataError(f"{path} line {number} lacks {', '.join(lacking)}")
        rows.append((number, row))
    return rows


def _manifest_entry(row: Mapping[str, Any], where: str, root: Path) -> _Entry:
    try:
        sample = int(row["sample"])
        fps = float(row["fps"]) if row.get("fps") not in (None, "") else None
    except (TypeError, ValueError):
        raise DataError(
            f"{where}: sample is a whole number and fps a number, got {row['sample']!r} and {row.get('fps')!r}"
        ) from None
    if sample < 0 or (fps is not None and not 0 < fps < 10_000):
        raise DataError(f"{where}: sample is at least 0 and fps above 0, got {sample} and {fps}")
    model, name = str(row["model"] or "").strip(), str(row["path"] or "").strip()
    if not model or not name or not str(row["prompt"] or "").strip():
        raise DataError(f"{where}: model, prompt and path may not be empty")
    path = (root / name).resolve()
    if not path.is_relative_to(root.resolve()):
        raise DataError(f"{where}: {name} lies outside of {root}: name a root that holds all videos (videos.root)")
    readings = ((folded(str(row["prompt"])), sample),)
    return _Entry(name, root / name, model, readings, None, str(row["prompt_id"] or "").strip() or None, fps)


def _folder_entries(root: Path, dimensions: Sequence[Dimension]) -> list[_Entry]:
    if not root.is_dir():
        raise DataError(f"{root} is no folder: it should hold <folder>/<model>/<prompt>.mp4")
    known = sorted({name for dimension in dimensions for name in (dimension.folder_name, *dimension.names)})
    entries = []
    for path in sorted(root.glob("*/*/*")):
        folder, model = path.parts[-3], path.parts[-2]
        if path.suffix.lower() not in SUFFIXES or folder not in known:
            continue
        stem = folded(path.stem)
        readings = [(stem, 0)]
        if numbered := re.fullmatch(r"(.+)_(\d+)", stem):
            readings.append((numbered[1], int(numbered[2])))
        entries.append(_Entry(str(path.relative_to(root)), path, model, tuple(readings), folder))
    if not entries:
        raise DataError(
            f"{root} holds no video as <folder>/<model>/<prompt>.mp4, where <folder> is one of {', '.join(known)}: "
            "another layout needs a manifest"
        )
    return entries


# --- matching -------------------------------------------------------------------------------------------------------


def _own_prompts(entries: Iterable[_Entry], source: str) -> list[Prompt]:
    """Return the prompts that the rows of a manifest bring with them.

    Raises:
        DataError: One id stands for two texts, or one text has two ids.
    """
    found: dict[str, str] = {}
    for one in entries:
        text = one.readings[0][0]
        name = one.prompt_id or text
        if found.setdefault(text, name) != name:
            raise DataError(f"{source}: the prompt '{text[:80]}' has two ids, '{found[text]}' and '{name}'")
    name, count = Counter(found.values()).most_common(1)[0] if found else ("", 0)
    if count > 1:
        raise DataError(f"{source}: prompt_id '{name}' stands for {count} different prompts")
    return [Prompt(name, text) for text, name in found.items()]


def _unmatched(one: _Entry, prompts: list[Prompt]) -> Unmatched:
    """Return a file without a prompt; the nearest is looked for among `prompts`, which takes a while."""
    text = one.readings[-1][0]
    close = difflib.get_close_matches(text.lower(), [prompt.text.lower() for prompt in prompts], n=1, cutoff=0)
    nearest = next((prompt.text for prompt in prompts if close and prompt.text.lower() == close[0]), "")
    return Unmatched(one.file, text, nearest)


def _refuse_empty(videos: list[Matched], unmatched: list[Unmatched], source: str | Path | None) -> None:
    if any(video.dimensions for video in videos):
        return
    lines = [f"{one.file} (nearest prompt: '{one.nearest[:100]}')" for one in unmatched[:SHOWN]]
    more = f", and {len(unmatched) - SHOWN} more" if len(unmatched) > SHOWN else ""
    told = f": {'; '.join(lines)}{more}" if lines else ": its prompts belong to other dimensions"
    raise DataError(f"no video of {source} matches a prompt of the dimensions that are judged{told}")


def _refuse_doubles(videos: list[Matched]) -> None:
    seen: dict[tuple[str, str, int, str], Path] = {}
    for video in videos:
        for name in video.dimensions:
            key = (name, video.cell.prompt_id, video.cell.sample, video.cell.model)
            if key in seen:
                raise DataError(
                    f"{seen[key].name} and {video.cell.path.name} are both sample {video.cell.sample} of "
                    f"{video.cell.model} for '{video.cell.prompt[:80]}': keep one, or number them _0, _1, ..."
                )
            seen[key] = video.cell.path


def _missing(
    videos: list[Matched], prompts: Sequence[Prompt], dimensions: Sequence[Dimension]
) -> list[tuple[str, str, int, str]]:
    """List the cells of the grid prompt x sample x model that have no video, dimension by dimension.

    A dimension's models and samples are those that have any video in it: who made none is not compared there.
    """
    found = []
    for dimension in dimensions:
        here = [video.cell for video in videos if dimension.id in video.dimensions]
        have = {(cell.prompt_id, cell.sample, cell.model) for cell in here}
        samples, models = sorted({cell.sample for cell in here}), sorted({cell.model for cell in here})
        for prompt in prompts:
            if prompt.is_for(dimension):
                wanted = [(prompt.id, sample, model) for sample in samples for model in models]
                found += [(dimension.id, *cell) for cell in wanted if cell not in have]
    return found


def describe_gaps(found: Found) -> list[str]:
    """Return what a person should know before money is spent: a line for unmatched files, one for missing cells."""
    lines = []
    if found.unmatched:
        shown = "; ".join(f"{one.file} (nearest prompt: '{one.nearest[:60]}')" for one in found.unmatched[:3])
        more = f"; and {len(found.unmatched) - 3} more" if len(found.unmatched) > 3 else ""
        lines.append(f"{len(found.unmatched)} files match no prompt and are left out: {shown}{more}")
    if found.missing:
        names = [f"{dimension}/{prompt}/{sample}/{model}" for dimension, prompt, sample, model in found.missing[:3]]
        more = f", and {len(found.missing) - 3} more" if len(found.missing) > 3 else ""
        lines.append(f"{len(found.missing)} cells have no video: {', '.join(names)}{more}")
    return lines
