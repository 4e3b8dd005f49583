"""Runs that are killed go on: what was answered is not asked again, and no judgement is lost or doubled."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from sensorium.core.errors import RunError
from sensorium.experiments.run import resume, run
from sensorium.judging.cache import AnswerStore
from sensorium.judging.judges.base import JudgeRequest, JudgeResponse
from sensorium.judging.judges.replay import Replay
from sensorium.judging.judges.scripted import Scripted
from sensorium.judging.records import read_records

from .loopback import Loopback, drawn_faults
from .videos import write_grid

pytestmark = pytest.mark.usefixtures("quick_page")

HERE = Path(__file__).parent
CONCURRENCY = 4


def config(folder: Path, judge: Any, **keys: Any) -> dict[str, Any]:
    return {
        "kind": "judge",
        "videos": {"manifest": str(folder / "videos.csv")},
        "prompts": "manifest",
        "dimensions": ["imaging_quality", "motion_effects", "color"],
        "judge": judge,
        "frames": {"processes": 1},
        "board": {"draws": 100},
    } | keys


def endpoint(url: str, **keys: Any) -> dict[str, Any]:
    return {
        "name": "openai-compatible",
        "base_url": url,
        "model": "m",
        "api_key_env": None,
        "backoff": 0.001,
        "concurrency": CONCURRENCY,
    } | keys


def judged(path: Path) -> list[tuple[Any, ...]]:
    """What must be equal between two runs."""
    return [(record.key, record.score, record.status, record.reason) for record in read_records(path / "records.jsonl")]


@contextmanager
def program(name: str, *arguments: str) -> Iterator[tuple[IO[str], IO[str]]]:
    process = subprocess.Popen(
        [sys.executable, str(HERE / name), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdin, process.stdout
    finally:
        process.stdin.close()
        process.wait(timeout=60)
        process.stdout.close()


def answers(log: Path) -> int:
    """How many whole answers the server has given: a line of 64 digits each."""
    return log.stat().st_size // 65 if log.exists() else 0


@pytest.mark.slow
def test_killed_five_times_nothing_is_lost_doubled_or_asked_again(tmp_path: Path) -> None:
    """10 % errors and 5 % malformed answers, `kill -9` at five random moments; the server's log is the witness."""
    write_grid(tmp_path, prompts=3, models=3)
    log, draws = tmp_path / "answers.log", random.Random(7)
    with program("loopback.py", str(log), "0.10", "0.05") as (_, said), program("killable.py") as (tell, heard):
        url = said.readline().strip()
        kills, limit = 0, sorted(draws.sample(range(4, 50), 5))
        while True:
            tell.write(json.dumps([str(tmp_path / "run"), config(tmp_path, endpoint(url))]) + "\n")
            tell.flush()
            child = int(heard.readline())
            if kills < 5:
                guard = time.monotonic() + 120
                while answers(log) < limit[kills] and time.monotonic() < guard:
                    time.sleep(0.003)
                os.kill(child, signal.SIGKILL)
                kills += 1
            status = int(heard.readline())
            if status == 0:
                break
            assert status == signal.SIGKILL
        whole = Counter(log.read_text().split())
    assert kills == 5
    assert sum(whole.values()) - len(whole) <= 5 * CONCURRENCY
    with Loopback(drawn_faults(0.10, 0.05)) as server:
        run(config(tmp_path, endpoint(server.url)), out=tmp_path / "clean")
        assert max(server.answered.values()) == 1
    assert judged(tmp_path / "run") == judged(tmp_path / "clean")
    assert len(judged(tmp_path / "clean")) == 27
    assert all(record[2] == "ok" for record in judged(tmp_path / "clean"))
    assert len(whole) == len(list(AnswerStore(tmp_path / "run" / "answers")))
    assert (tmp_path / "run" / "leaderboard.csv").read_text() == (tmp_path / "clean" / "leaderboard.csv").read_text()


def test_faults_at_thirty_percent_leave_the_scores_of_a_clean_run(tmp_path: Path) -> None:
    write_grid(tmp_path, prompts=2, models=2)
    found = {}
    for name, faults in (("clean", None), ("faulty", drawn_faults(0.3, 0.1, salt="30"))):
        with Loopback(faults) as server:
            tree = config(tmp_path, endpoint(server.url, timeout=20.0))
            run(tree, out=tmp_path / name)
            assert server.problems == []
            found[name] = judged(tmp_path / name)
            assert max(server.answered.values()) == 1
            if faults:
                assert len(server.requests) > 1.25 * len(server.answered)
    assert found["faulty"] == found["clean"]
    assert {record[2] for record in found["clean"]} == {"ok"}


class Dying(Replay):
    """A replay judge that stops after so many answers."""

    answers = 10**6
    given = 0

    async def complete(self, request: JudgeRequest) -> JudgeResponse:
        if Dying.given >= Dying.answers:
            raise RunError("stopped by the test")
        Dying.given += 1
        return await super().complete(request)


def test_a_replay_run_stopped_at_40_percent_makes_exactly_the_missing_calls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """VJ-9: records of the replay, of the recording and of the resumed run are the same."""
    from sensorium.core.registry import registered

    write_grid(tmp_path, prompts=2, models=3)
    cassette = str(tmp_path / "c.jsonl")
    recording = {"name": "replay", "mode": "record", "cassette": cassette, "judge": "scripted"}
    run(config(tmp_path, recording), out=tmp_path / "recorded")
    replay = {"name": "replay", "cassette": cassette}
    with registered("sensorium.judges", "replay", Dying):
        run(config(tmp_path, replay), out=tmp_path / "whole")
        total = Dying.given
        monkeypatch.setattr(Dying, "given", 0)
        monkeypatch.setattr(Dying, "answers", int(0.4 * total))
        with pytest.raises(RunError, match="stopped by the test"):
            run(config(tmp_path, replay), out=tmp_path / "stopped")
        assert not (tmp_path / "stopped" / "result.json").exists()
        monkeypatch.setattr(Dying, "answers", 10**6)
        resume(tmp_path / "stopped")
        assert Dying.given == total
        assert resume(tmp_path / "stopped").was_complete
        assert Dying.given == total
    assert judged(tmp_path / "stopped") == judged(tmp_path / "whole") == judged(tmp_path / "recorded")
    whole, stopped = (read_records(tmp_path / name / "records.jsonl") for name in ("whole", "stopped"))
    assert whole == stopped
    metrics = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "stopped")]
    assert metrics[0] == metrics[1]


def test_a_log_without_its_end_is_made_again_from_the_answers(tmp_path: Path) -> None:
    """Records are derived: without them, and with every answer kept, a run asks nothing."""
    write_grid(tmp_path, prompts=1, models=3)
    run(config(tmp_path, "scripted"), out=tmp_path / "run")
    before = judged(tmp_path / "run")
    folder = tmp_path / "run"
    text = (folder / "records.jsonl").read_text()
    for name in ("result.json", "report.html", "records.jsonl"):
        (folder / name).unlink()
    (folder / "done.jsonl").write_text(text[: len(text) // 2])

    class Silent(Scripted):
        async def complete(self, request: JudgeRequest) -> JudgeResponse:
            raise AssertionError("it was asked")

    from sensorium.core.registry import registered

    with registered("sensorium.judges", "scripted", Silent):
        resume(folder)
    assert judged(folder) == before
    assert not (folder / "done.jsonl").exists()


def test_other_videos_are_refused(tmp_path: Path) -> None:
    write_grid(tmp_path, prompts=1, models=2)
    run(config(tmp_path, "scripted"), out=tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    (tmp_path / "m0-0-0.mp4").write_bytes(b"another file")
    with pytest.raises(RunError, match="are not those that"):
        resume(tmp_path / "run")
