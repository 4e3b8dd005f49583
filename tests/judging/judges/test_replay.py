import asyncio
from pathlib import Path
from typing import Any

import pytest

from sensorium.core.config import build
from sensorium.core.errors import ConfigError, DataError, RunError
from sensorium.core.registry import registered
from sensorium.judging.asking import Answer, Asker
from sensorium.judging.cache import AnswerStore
from sensorium.judging.dimensions import dimension
from sensorium.judging.judges.base import GROUP
from sensorium.judging.judges.replay import Replay, read_cassette
from sensorium.judging.judges.scripted import Scripted
from sensorium.judging.protocols.base import Asking
from sensorium.judging.protocols.direct import direct

from ..videos import shown


def made(cassette: Path, mode: str, **keys: Any) -> Replay:
    return Replay(build(Replay.Config, {"cassette": str(cassette), "mode": mode} | keys, source="test"))


def scores(judge: Any, folder: Path, levels: list[int]) -> list[float | None]:
    asker = Asker(judge, AnswerStore(folder))
    color = dimension("imaging_quality")

    async def together() -> list[Any]:
        return [await direct(asker, color, shown(f"m{level}", [level]), Asking()) for level in levels]

    return [one.score for one in asyncio.run(together())]


def test_a_recorded_judge_answers_again_without_it(tmp_path: Path) -> None:
    """VJ-9: a cassette gives identical scores, under the id of the judge that was recorded."""
    recorder = made(tmp_path / "c.jsonl", "record", judge="scripted")
    assert not (tmp_path / "c.jsonl").exists()  # nothing is written before the first answer
    first = scores(recorder, tmp_path / "a", [20, 120, 230])
    assert first == [1, 3, 5]
    again = made(tmp_path / "c.jsonl", "replay-strict")
    assert scores(again, tmp_path / "b", [230, 20, 120]) == [5, 1, 3]
    assert (again.id, again.family) == ("scripted-brightness", "replay")
    assert again.model_id("host") == "scripted-brightness"


def test_recording_goes_on_where_it_was_cut(tmp_path: Path) -> None:
    cassette = tmp_path / "c.jsonl"
    scores(made(cassette, "record", judge="scripted"), tmp_path / "a", [20, 120])
    whole = cassette.read_text()
    cassette.write_text(whole[:-30])  # killed in the middle of a line
    judge = made(cassette, "record", judge="scripted")
    assert scores(judge, tmp_path / "b", [20, 120, 230]) == [1, 3, 5]
    assert len(read_cassette(cassette)[1]) == 3
    other = type("Other", (Scripted,), {"__init__": lambda self, config: None, "id": "other"})
    told = "was recorded from 'scripted-brightness', not from 'other'"
    with registered(GROUP, "other", other), pytest.raises(ConfigError, match=told):
        made(cassette, "record", judge="other")


def test_what_was_not_recorded(tmp_path: Path) -> None:
    scores(made(tmp_path / "c.jsonl", "record", judge="scripted"), tmp_path / "a", [20])
    assert scores(made(tmp_path / "c.jsonl", "replay-lenient"), tmp_path / "b", [20, 120]) == [1, None]
    with pytest.raises(RunError, match="are not those that were recorded"):
        scores(made(tmp_path / "c.jsonl", "replay-strict"), tmp_path / "c", [20, 120])


def test_files_and_keys_that_are_wrong(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="record a cassette first"):
        made(tmp_path / "none.jsonl", "replay-strict")
    (tmp_path / "x.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match="is no cassette"):
        made(tmp_path / "x.jsonl", "replay-strict")
    with pytest.raises(ConfigError, match="mode 'record' needs the judge"):
        made(tmp_path / "x.jsonl", "record")


def test_answers_of_another_release_are_named(tmp_path: Path) -> None:
    store = AnswerStore(tmp_path)
    store.path("ab").parent.mkdir()
    store.path("ab").write_text('{"response": {"text": "x"}}')
    with pytest.raises(DataError, match="is no answer of a judge"):
        store.read("ab")
    assert isinstance(Answer("ok").usage.tree(), dict)
