"""Direct: rubric, prompt and frames, one call. The cheap way, and what the others are compared with."""

from __future__ import annotations

from sensorium.judging.asking import Asker
from sensorium.judging.dimensions import Dimension
from sensorium.judging.judges.base import JudgeRequest, Outcome
from sensorium.judging.protocols.base import Asking, outcome
from sensorium.judging.protocols.words import data_block, frames_of, please_answer, protocol_version, system_words
from sensorium.judging.sampling import Shown
from sensorium.judging.schemas import score_schema

ROLE = "You judge generated video. You look at frames of one video, in order, and at the text that it was made from."


async def direct(asker: Asker, dimension: Dimension, shown: Shown, asking: Asking) -> Outcome:
    """Ask for the score of one video in one call."""
    schema = score_schema(dimension)
    target = shown.thinned(asker.judge.caps.max_images)
    request = JudgeRequest(
        "host",
        "score",
        system_words(ROLE, dimension),
        (
            data_block(prompt=shown.cell.prompt),
            *frames_of(target, "video to judge"),
            please_answer("Judge this video.", schema),
        ),
        schema.name,
        schema.json,
        protocol_version("direct", dimension),
        **asking.sampling(),
    )
    return outcome([await asker.ask(request, schema)], target)
