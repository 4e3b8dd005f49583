"""Few-shot scoring: other models' videos of the same prompt are the context (Video-Bench, quality dimensions).

static: one call for a video. The first sampled frame of each other model comes before it, as an example; the prompt is
    not shown, and the record says so.
joint: one call for all models' videos of a prompt. They stand in a seeded order under ids that say nothing (V1, V2,
    ...), and scores come back by id. (Released: scores are zipped with the order of a folder, so models get swapped.)

Where a joint request would hold more pictures than the judge takes, the videos are split into groups of about equal
size. One video, the anchor, is in every group: if its scores differ by more than 1, the cells are flagged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sensorium.core.seeds import numpy_generator
from sensorium.judging.asking import Answer, Asker
from sensorium.judging.dimensions import Dimension
from sensorium.judging.judges.base import JudgeRequest, Outcome, Part, Text
from sensorium.judging.parsing import reason_of
from sensorium.judging.protocols.base import Asking, outcome
from sensorium.judging.protocols.words import data_block, frames_of, please_answer, protocol_version, system_words
from sensorium.judging.sampling import Shown
from sensorium.judging.schemas import score_schema, scores_schema

STATIC_ROLE = (
    "You judge generated video. First you see one frame each of other generated videos: they are examples of what is "
    "to be expected, and are not judged. Then you see the frames of the video to judge, in order."
)
JOINT_ROLE = (
    "You judge generated videos that were made from one text. You see the frames of each, in order, under its id. "
    "Judge each by the levels, and use the others to see what the levels mean; equal videos get equal scores."
)
ANCHOR_TOLERANCE = 1


async def static(
    asker: Asker, dimension: Dimension, shown: Shown, examples: Sequence[Shown], asking: Asking
) -> Outcome:
    """Ask for the score of one video, with the first frame of each other model's video as an example."""
    schema = score_schema(dimension)
    most = asker.judge.caps.max_images
    first = [example.pictures[0] for example in examples][: most - 1]
    target = shown.thinned(most - len(first))
    parts: list[Part] = []
    for number, picture in enumerate(first, start=1):
        parts += [Text(f"example {number}"), picture]
    request = JudgeRequest(
        "host",
        "score",
        system_words(STATIC_ROLE, dimension),
        (*parts, *frames_of(target, "video to judge"), please_answer("Judge the video to judge.", schema)),
        schema.name,
        schema.json,
        protocol_version("few-shot-static", dimension),
        **asking.sampling(),
    )
    notes = {"examples": len(first), "prompt": "not used"}
    return outcome([await asker.ask(request, schema)], target, notes=notes)


async def joint(asker: Asker, dimension: Dimension, shown: Sequence[Shown], asking: Asking) -> list[Outcome]:
    """Ask for the scores of all models' videos of one prompt and sample, in as few calls as the judge's limit allows.

    Returns:
        One outcome for each of `shown`, in its order.
    """
    most = asker.judge.caps.max_images
    half = max(1, most // 2) if len(shown) > 1 else most
    fitting = [one.thinned(half) for one in shown]  # an anchor and one other video must fit into one request
    order = shuffled(fitting, dimension, asking.seed)
    groups = split_into_groups([0 if one.clip else len(one.pictures) for one in order], most)
    by_cell: dict[str, list[tuple[Outcome, int]]] = {}
    for number, members in enumerate(groups):
        videos = [order[place] for place in members]
        for video, found in zip(videos, await _ask_group(asker, dimension, videos, asking), strict=True):
            by_cell.setdefault(video.cell.name, []).append((found, number))
    anchor = by_cell[order[groups[0][0]].cell.name]
    told = _Groups(len(groups), [found.score for found, _ in anchor])
    return [told.complete(by_cell[one.cell.name]) for one in shown]


def shuffled(shown: Sequence[Shown], dimension: Dimension, seed: int) -> list[Shown]:
    """Return the videos in the order in which they are shown: seeded, and the same for any order that they come in."""
    by_name = sorted(shown, key=lambda one: one.cell.model)
    prompt_id, sample = by_name[0].cell.group
    generator = numpy_generator(seed, "order of videos", dimension.id, prompt_id, sample)
    return [by_name[place] for place in generator.permutation(len(by_name))]


def split_into_groups(pictures: Sequence[int], most: int) -> list[list[int]]:
    """Return groups of places whose pictures fit into one request each, as few and as even as can be.

    Args:
        pictures: Pictures of each video; the first video is the anchor, and every pair with it must fit.
        most: Pictures of a request.

    Returns:
        Places, the anchor first in each group, and the others in rising order.
    """
    if sum(pictures) <= most:
        return [list(range(len(pictures)))]
    for count in range(2, len(pictures)):
        loads, groups = [pictures[0]] * count, [[0] for _ in range(count)]
        for place in sorted(range(1, len(pictures)), key=lambda place: -pictures[place]):
            lightest = min(range(count), key=lambda group: (loads[group], group))
            loads[lightest] += pictures[place]
            groups[lightest].append(place)
        if max(loads) <= most:
            return [sorted(group) for group in groups]
    return [[0, place] for place in range(1, len(pictures))]


async def _ask_group(asker: Asker, dimension: Dimension, videos: Sequence[Shown], asking: Asking) -> list[Outcome]:
    ids = [f"V{number}" for number in range(1, len(videos) + 1)]
    schema = scores_schema(dimension, ids)
    parts: list[Part] = []
    for name, video in zip(ids, videos, strict=True):
        parts += frames_of(video, f"video {name}")
    request = JudgeRequest(
        "host",
        "score",
        system_words(JOINT_ROLE, dimension),
        (
            data_block(prompt=videos[0].cell.prompt),
            *parts,
            please_answer("Judge each of these videos.", schema),
        ),
        schema.name,
        schema.json,
        protocol_version("few-shot-joint", dimension),
        **asking.sampling(),
    )
    answer = await asker.ask(request, schema)
    notes = {"examples": len(videos) - 1, "shared_by": len(videos)}
    return [_one_of(answer, name, video, notes) for name, video in zip(ids, videos, strict=True)]


def _one_of(answer: Answer, name: str, video: Shown, notes: dict[str, Any]) -> Outcome:
    """Return what an answer says about one of its videos: the entry with its id, wherever that stands."""
    if answer.status != "ok":
        return outcome([answer], video, notes=notes)
    entry = next(entry for entry in answer.values["scores"] if entry["video"] == name)
    return outcome([answer], video, score=entry["score"], reason=reason_of(entry), notes=notes | {"shown_as": name})


@dataclass(frozen=True)
class _Groups:
    """What is to be said about a request that was split."""

    count: int
    anchor_scores: list[float | None]

    def complete(self, found: list[tuple[Outcome, int]]) -> Outcome:
        """Return a cell's outcome: the first group's that has a score (the anchor has one in each), with the notes."""
        best, group = next(((one, number) for one, number in found if one.score is not None), found[0])
        if self.count == 1:
            return best
        scores = [score for score in self.anchor_scores if score is not None]
        notes: dict[str, Any] = {"groups": self.count, "group": group + 1, "anchor_scores": list(self.anchor_scores)}
        if scores and max(scores) - min(scores) > ANCHOR_TOLERANCE:
            notes["flagged"] = "the anchor's scores differ by more than 1 between the groups"
        return replace(
            best,
            request_keys=tuple(key for one, _ in found for key in one.request_keys),
            usage=sum((one.usage for one, _ in found[1:]), found[0][0].usage),
            attempts=sum(one.attempts for one, _ in found),
            notes={**best.notes, **notes},
        )
