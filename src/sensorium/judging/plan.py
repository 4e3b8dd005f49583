"""What a run will take, told before anything is spent: calls, pictures, tokens and money of each dimension.

Headers of the videos are read, no picture is decoded and no request is made. Texts that do not exist yet (descriptions,
questions, answers) are counted with a typical length; pictures by OpenAI's published rule. Both are estimates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sensorium.judging.accounting import ANSWER_TOKENS, picture_tokens, text_tokens
from sensorium.judging.cells import VideoCell
from sensorium.judging.dimensions import Dimension
from sensorium.judging.judges.base import Judge, Role
from sensorium.judging.protocols.few_shot import split_into_groups
from sensorium.judging.protocols.words import rubric
from sensorium.judging.sampling import Foretold, Sampling, foretell
from sensorium.judging.units import Unit
from sensorium.media.errors import MediaError
from sensorium.media.workers import Workers

FRAME_TOKENS = 60  # instructions, headers and the form of the answer, beside rubric, texts and pictures


@dataclass(frozen=True)
class Planned:
    """What one dimension will take.

    Attributes:
        dimension: Its id.
        cells: Judgements.
        calls: Requests, if every answer can be read at once.
        pictures: In all requests.
        prompt_tokens: That models will read, about.
        completion_tokens: That they will write, about.
        cost: By the price table.
        unreadable: Videos that cannot be used.
    """

    dimension: str
    cells: int
    calls: int
    pictures: int
    prompt_tokens: int
    completion_tokens: int
    cost: float
    unreadable: int


@dataclass(frozen=True)
class _Call:
    role: Role
    pictures: int
    tokens: int


def plan(
    units: Sequence[Unit], judge: Judge, sampling: Callable[[Unit], Sampling], workers: Workers, repeats: int = 1
) -> list[Planned]:
    """Return what each dimension will take, in the order of the units."""
    headers: dict[tuple[VideoCell, Sampling], Foretold | None] = {}
    calls: dict[str, list[_Call]] = {}
    cells: dict[str, int] = {}
    lost: dict[str, set[VideoCell]] = {}
    for unit in units:
        name = unit.dimension.id
        videos: dict[VideoCell, Foretold] = {}
        for cell in unit.videos:
            key = (cell, sampling(unit))
            if key not in headers:
                headers[key] = _header(workers, *key)
            found = headers[key]
            if found is None:
                lost.setdefault(name, set()).add(cell)
            else:
                videos[cell] = found
        cells[name] = cells.get(name, 0) + len(unit.targets)
        calls.setdefault(name, []).extend(_calls(unit, videos, judge) * repeats)
    return [_sum(name, cells[name], made, judge, len(lost.get(name, ()))) for name, made in calls.items()]


def _header(workers: Workers, cell: VideoCell, sampling: Sampling) -> Foretold | None:
    try:
        return workers.call(foretell, cell, sampling, source=cell.path)
    except MediaError:
        return None


def _calls(unit: Unit, videos: dict[VideoCell, Foretold], judge: Judge) -> list[_Call]:
    """Return the calls of a unit; a target whose file cannot be used makes none."""
    most, low = judge.caps.max_images, judge.caps.low_detail

    def shown(cells: Sequence[VideoCell], pictures: int | None = None) -> tuple[int, int]:
        counts = [min(pictures or most, videos[cell].pictures) for cell in cells]
        each = [picture_tokens(videos[cell].width, videos[cell].height, low_detail=low) for cell in cells]
        return sum(counts), sum(count * tokens for count, tokens in zip(counts, each, strict=True))

    targets = [cell for cell in unit.targets if cell in videos]
    if not targets:
        return []
    text = text_tokens(rubric(unit.dimension)) + text_tokens(targets[0].prompt) + FRAME_TOKENS
    pictures, tokens = shown(targets)
    if unit.protocol == "few-shot-joint":
        half = max(1, most // 2) if len(targets) > 1 else most
        groups = split_into_groups([min(half, videos[cell].pictures) for cell in targets], most)
        sizes = [shown([targets[place] for place in group], half) for group in groups]
        return [_Call("host", count, text + size) for count, size in sizes]
    if unit.protocol == "few-shot-static":
        examples = [cell for cell in unit.context if cell in videos]
        beside, beside_tokens = shown(examples, 1)
        return [_Call("host", pictures + beside, text + tokens + beside_tokens)]
    if unit.protocol == "direct":
        return [_Call("host", pictures, text + tokens)]
    told = text_tokens(targets[0].prompt) + FRAME_TOKENS
    return [
        _Call("host", pictures, tokens + FRAME_TOKENS),
        _Call("assistant", 0, told + ANSWER_TOKENS),
        _Call("assistant", 0, told + ANSWER_TOKENS + ANSWER_TOKENS // 4),
        _Call("host", pictures, told + tokens + ANSWER_TOKENS // 2),
        _Call("host", pictures, text + tokens + 3 * ANSWER_TOKENS),
    ]


def _sum(name: str, cells: int, calls: Sequence[_Call], judge: Judge, unreadable: int) -> Planned:
    written = [ANSWER_TOKENS] * len(calls)
    return Planned(
        name,
        cells,
        len(calls),
        sum(call.pictures for call in calls),
        sum(call.tokens for call in calls),
        sum(written),
        sum(judge.cost(call.role, call.tokens, ANSWER_TOKENS) for call in calls),
        unreadable,
    )


def total(rows: Sequence[Planned]) -> Planned:
    """Return the sum of all dimensions; unreadable videos are counted once for each dimension."""
    return Planned(
        "total",
        sum(row.cells for row in rows),
        sum(row.calls for row in rows),
        sum(row.pictures for row in rows),
        sum(row.prompt_tokens for row in rows),
        sum(row.completion_tokens for row in rows),
        sum(row.cost for row in rows),
        sum(row.unreadable for row in rows),
    )


def asked_dimensions(units: Sequence[Unit]) -> list[Dimension]:
    """Return the dimensions that have anything to judge, in their order."""
    return list({unit.dimension.id: unit.dimension for unit in units}.values())
