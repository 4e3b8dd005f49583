"""`report.html` of a judging run: the board, what could not be read, and every judgement with frames and transcript.

One file that loads nothing. It stays below 20 MB: where a run has more videos than fit, those with a missing score come
first, then others spread evenly over the run, and the page says how many it shows. All words of prompts, answers,
models and files pass through autoescaped templates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sensorium.core.errors import RunError
from sensorium.core.files import read_json
from sensorium.core.pages import write_page
from sensorium.core.rundir import RunDirectory
from sensorium.judging.cache import AnswerStore
from sensorium.judging.leaderboard import METRIC_LABEL
from sensorium.judging.records import RECORDS, Record, read_records
from sensorium.judging.report_pictures import embedded
from sensorium.media.errors import MediaError
from sensorium.media.video import Frames, read_frames
from sensorium.media.workers import Workers

FRAMES = 4
LONG_SIDE = 320
MOST_VIDEOS = 240
MOST_CHARACTERS = 15_000_000  # of all videos together
LONGEST_TEXT = 3000
SECONDS = 30.0

VideoKey = tuple[str, int, str]  # prompt_id, sample, model


@dataclass(frozen=True)
class These:
    """The rule that picks known frames, for `read_frames`."""

    indices: tuple[int, ...]

    def __call__(self, seconds: npt.NDArray[np.float64], fps: float) -> list[int]:
        """Return those that there are."""
        return [index for index in self.indices if index < len(seconds)]


@dataclass
class Video:
    """One video as the page shows it."""

    key: VideoKey
    prompt: str
    file: str
    records: list[Record]
    pictures: list[Any] = field(default_factory=list)
    no_pictures: str = ""
    judgements: list[dict[str, Any]] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Characters that it takes in the page, about."""
        return sum(map(len, self.pictures)) + sum(len(str(one)) for one in self.judgements)


def write_report(path: str | Path) -> Path:
    """Write `report.html` of a complete run.

    Args:
        path: The run's folder.

    Returns:
        The page.

    Raises:
        RunError: The run is not complete.
    """
    run = RunDirectory.open(path)
    result = run.result
    if result is None:
        raise RunError(f"{path} is not complete: continue it with 'sensorium resume {path}'")
    records = read_records(run.path / RECORDS)
    videos = _videos(run, records)
    shown = _shown(videos)
    _add_pictures(run, shown)
    kept = _within_limit(run, shown)
    page = run.path / "report.html"
    write_page(
        page,
        f"{run.config['name']}: {len(result['dimensions'])} dimensions of generated video",
        "judging/templates/report.html",
        result=result,
        metric_label=METRIC_LABEL,
        warnings=warnings_of(result, records),
        cards=_cards(result, records, videos),
        boards=[_board(name, entry) for name, entry in result["dimensions"].items()],
        models=sorted({model for entry in result["dimensions"].values() for model in entry["models"]}),
        averages=_averages(result),
        agreement=_agreement(run.path / "agreement.json"),
        prompts=_by_prompt(kept),
        n_shown=len(kept),
        n_videos=len(videos),
        config=run.config,
        environment=read_json(run.path / "environment.json"),
    )
    return page


# --- what stands above the videos -----------------------------------------------------------------------------------


def warnings_of(result: Mapping[str, Any], records: Sequence[Record]) -> list[str]:
    """Return what a reader must know before any number."""
    lines = []
    if result["family"] == "scripted":
        lines.append("Simulated: a script answered in place of a model. These scores say nothing about the videos.")
    if result["incomplete"]:
        names = ", ".join(result["incomplete"])
        lines.append(f"Incomplete: more than 2 % of the cells have no score in {names}.")
    if result["marked"]:
        lines.append("Some ranks stand here although missing scores leave their order open (allow_missing).")
    if result["unsupported"]:
        names = ", ".join(result["unsupported"])
        lines.append(f"Not supported by this judge, and in no mean: {names}.")
    blind = sorted({record.dimension for record in records if record.notes.get("prompt") == "not used"})
    if blind:
        lines.append(f"Prompt: not used in {', '.join(blind)}. Other words give the same scores there.")
    flagged = sum("flagged" in record.notes for record in records)
    if flagged:
        lines.append(f"{flagged} cells are flagged: a shared video got unlike scores in two requests of their group.")
    return [*lines, *result.get("gaps", [])]


def _cards(result: Mapping[str, Any], records: Sequence[Record], videos: Sequence[Video]) -> list[dict[str, str]]:
    nulls = sum(record.score is None for record in records)
    usage = result["usage"]
    cards = [
        ("judge", str(result["judge"]), str(result["family"])),
        ("videos", f"{len(videos):,}", f"{len({video.key[2] for video in videos})} models"),
        ("cells", f"{len(records):,}", f"{nulls:,} without a score"),
    ]
    if usage["calls"]:
        estimated = ", estimated" if usage["estimated"] else ""
        tokens = f"{usage['prompt_tokens']:,} tokens read, {usage['completion_tokens']:,} written{estimated}"
        cards += [("answers", f"{usage['calls']:,}", tokens), ("cost", f"{usage['cost']:.4f}", "by the price table")]
    else:
        cards.append(("cost", "0", "no calls"))
    return [{"name": name, "value": value, "detail": detail} for name, value, detail in cards]


def _board(name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return one dimension's table, the highest mean first."""
    low, high = entry["scale"]
    rows = sorted(entry["models"].items(), key=lambda item: (item[1]["mean"] is None, -(item[1]["mean"] or 0), item[0]))
    unordered = {model for pair in entry["undetermined"] for model in pair}
    return {
        "name": name,
        "scale": f"{low}–{high}",
        "which": entry["which"],
        "version": entry["judge"]["protocol_version"],
        "means": {model: row["mean"] for model, row in entry["models"].items()},
        "rows": [{"model": model, "undetermined": model in unordered, **row} for model, row in rows],
        "nulls": entry["nulls"],
        "cells": entry["cells"],
        "reasons": entry["null_reasons"],
        "undetermined": [" and ".join(pair) for pair in entry["undetermined"]],
        "order": entry["order"],
    }


def _averages(result: Mapping[str, Any]) -> dict[str, Any]:
    groups = list(result["average_ranks"])
    models = sorted({model for values in result["average_ranks"].values() for model in values})
    rows = [[model, *(result["average_ranks"][group].get(model) for group in groups)] for model in models]
    return {"groups": groups, "rows": sorted(rows, key=lambda row: row[-1]), "refused": result["refused"]}


def _agreement(path: Path) -> list[dict[str, Any]]:
    """Return agreement with people, where it was measured."""
    if not path.exists():
        return []
    return [{"name": name, **tree} for name, tree in read_json(path)["dimensions"].items()]


# --- the videos -----------------------------------------------------------------------------------------------------


def _videos(run: RunDirectory, records: Iterable[Record]) -> list[Video]:
    """Return every video that has records, in the order of prompts."""
    known = {(tree["prompt_id"], tree["sample"], tree["model"]): tree for tree in run.records("videos.jsonl")}
    found: dict[VideoKey, Video] = {}
    for record in records:
        key = (record.prompt_id, record.sample, record.model)
        tree = known.get(key, {})
        video = found.setdefault(key, Video(key, tree.get("prompt", ""), tree.get("path", ""), []))
        video.records.append(record)
    return [found[key] for key in sorted(found)]


def _shown(videos: Sequence[Video]) -> list[Video]:
    """Return the videos that the page shows: all, or those without a score and an even spread of the others."""
    if len(videos) <= MOST_VIDEOS:
        return list(videos)
    first = [video for video in videos if any(record.score is None for record in video.records)][: MOST_VIDEOS // 2]
    chosen = {video.key for video in first}
    others = [video for video in videos if video.key not in chosen]
    places = np.linspace(0, len(others) - 1, MOST_VIDEOS - len(first)).round().astype(int)
    return first + [others[place] for place in places]


def _add_pictures(run: RunDirectory, videos: Sequence[Video]) -> None:
    """Read a few of the frames that each video was judged by; a file that has gone, or cannot be read, says so."""
    with Workers(2, seconds=SECONDS) as workers, ThreadPoolExecutor(2) as pool:

        def work(video: Video) -> None:
            indices = max((record.frames for record in video.records), key=len, default=())
            places = np.unique(np.linspace(0, len(indices) - 1, FRAMES).round().astype(int)) if indices else [0]
            rule = These(tuple(indices[place] for place in places) if indices else (0,))
            reading = partial(read_frames, long_side=LONG_SIDE)
            try:
                frames: Frames = workers.call(reading, Path(video.file), rule, source=video.file)
            except MediaError as error:
                video.no_pictures = error.detail
                return
            video.pictures = [
                embedded(pixels, description=f"frame {index} of {video.key[2]}")
                for index, pixels in zip(frames.indices, frames.pixels, strict=True)
            ]

        for _ in pool.map(work, videos):
            pass


def _within_limit(run: RunDirectory, videos: Sequence[Video]) -> list[Video]:
    """Add the judgements, and return as many videos as the page may hold, sorted."""
    store = AnswerStore(run.path / "answers")
    kept: list[Video] = []
    left = MOST_CHARACTERS
    for video in videos:
        video.judgements = [_judgement(record, store) for record in video.records]
        if video.size > left:
            break
        left -= video.size
        kept.append(video)
    return sorted(kept, key=lambda video: video.key)


def _judgement(record: Record, store: AnswerStore) -> dict[str, Any]:
    return {
        "dimension": record.dimension,
        "score": record.score,
        "status": record.status,
        "reason": _short(record.reason),
        "notes": {name: value for name, value in record.notes.items() if name != "calibrated"},
        "tokens": record.usage.get("prompt_tokens", 0) + record.usage.get("completion_tokens", 0),
        "cost": record.usage.get("cost", 0.0),
        "attempts": record.attempts,
        "steps": [_step(store, key) for key in record.request_keys if store.path(key).exists()],
    }


def _step(store: AnswerStore, key: str) -> dict[str, Any]:
    """Return one exchange: what the judge was told and shown, and what it said."""
    told = store.transcript(key)
    turns = []
    for message in told["messages"]:
        if message["role"] == "system":
            continue  # the rubric: the same for all, and in the configuration of the dimension
        turns.append({"who": message["role"], "text": _short(" ".join(map(_words, message["content"])))})
    return {
        "step": told["step"],
        "model": told["model"],
        "turns": [*turns, {"who": "answer", "text": _short(told["response"]["text"])}],
        "key": key[:12],
    }


def _words(part: Mapping[str, Any]) -> str:
    if part["type"] == "text":
        return str(part["text"])
    if part["type"] == "image":
        return "[picture {}×{}]".format(*part["size"])
    return "[video file]"


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]} … ({len(text):,} characters)"


def _by_prompt(videos: Sequence[Video]) -> list[dict[str, Any]]:
    prompts: dict[str, dict[str, Any]] = {}
    for video in videos:
        group = prompts.setdefault(video.key[0], {"id": video.key[0], "text": video.prompt, "videos": []})
        group["videos"].append(video)
    return list(prompts.values())
