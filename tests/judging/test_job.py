"""Whole runs: what they write, what they cost, and what becomes of the cells that fail."""

import json
import logging
import resource
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

from sensorium.cli import main
from sensorium.core.config import load_yaml
from sensorium.core.errors import ConfigError, DataError, RunError
from sensorium.core.registry import registered
from sensorium.experiments.run import run
from sensorium.judging.cache import AnswerStore
from sensorium.judging.cells import VideoCell
from sensorium.judging.dimensions import Dimension
from sensorium.judging.job import planned
from sensorium.judging.judges.base import JudgeRequest, Outcome
from sensorium.judging.judges.scripted import Scripted, brightness
from sensorium.judging.plan import total
from sensorium.judging.records import Record, read_records

from .loopback import Fault, Loopback
from .test_resume import config, endpoint
from .videos import LEVELS, write_clip, write_grid, write_manifest

pytestmark = pytest.mark.usefixtures("quick_page")


def records(path: Path) -> dict[tuple[Any, ...], Record]:
    return {record.key: record for record in read_records(path / "records.jsonl")}


def test_a_run_leaves_what_every_run_leaves(tmp_path: Path) -> None:
    write_grid(tmp_path, prompts=2, models=3)
    done = run(config(tmp_path, "scripted"), out=tmp_path / "run")
    folder = tmp_path / "run"
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "config.yaml",
        "environment.json",
        "metrics.jsonl",
        "timing.jsonl",
        "result.json",
        "report.html",
        "lock",
        "videos.jsonl",
        "dimensions.json",
        "answers",
        "records.jsonl",
        "leaderboard.csv",
    }
    found = records(folder)
    assert len(found) == 3 * 6
    for (dimension, prompt, sample, model), record in found.items():
        level = (int(model[1]) + int(prompt[1])) % 5
        assert record.score == (level + 1 if dimension != "color" else LEVELS[level] * 3 // 256 + 1)
        assert (sample, record.status, record.frames) == (0, "ok", (1, 5, 7))
        assert record.judge.family == "scripted"
        assert len(record.request_keys) == (5 if dimension == "color" else 1)
        assert dimension in record.judge.protocol_version
    # the script describes all videos alike, so both questioners are asked once for each prompt
    assert done.result["usage"]["calls"] == 6 + 2 + 6 * 3 + 2 * 2
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["packages"]["av"]
    assert (environment["device"], environment["threads"]) == ("cpu", "1")
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert (last["cells"], last["null"], last["calls"]) == (18, 0, 30)
    assert load_yaml(folder / "config.yaml")["re_asks"] == 2
    assert len(list(AnswerStore(folder / "answers"))) == 30


def test_a_file_that_cannot_be_used_costs_its_own_cells(tmp_path: Path) -> None:
    write_grid(tmp_path, prompts=1, models=4)
    (tmp_path / "m1-0-0.mp4").write_bytes(b"")
    (tmp_path / "m2-0-0.mp4").unlink()
    run(config(tmp_path, "scripted"), out=tmp_path / "run")
    for (dimension, _, _, model), record in records(tmp_path / "run").items():
        assert (record.status == "error") is (model in ("m1", "m2"))
        if model == "m1":
            assert "the file is empty" in record.reason
        elif model == "m2":
            assert "no such file" in record.reason
        elif dimension != "color":
            assert record.notes["examples"] == 1  # the two that can be used see each other alone


def test_a_judge_that_cannot_be_read_is_not_a_zero(tmp_path: Path) -> None:
    """VJ-1: answers 5, 5, 4, 5, a refusal, a cut-off JSON: mean 4.75, n = 4, two listed by reason."""
    said = iter(
        [
            '{"score": 5, "reason": "a"}',
            '{"score": 5, "reason": "b"}',
            '{"score": 4, "reason": "c"}',
            '{"score": 5, "reason": "d"}',
            "I'm sorry, but I can't help with that.",
            *['{"score": 4, "rea'] * 3,
        ]
    )
    rows = []
    for place in range(6):
        write_clip(tmp_path / f"{place}.mp4", 40 + place, frames=4)
        rows.append(
            {"model": "m", "prompt_id": f"q{place}", "prompt": f"p{place}", "sample": 0, "path": f"{place}.mp4"}
        )
    write_manifest(tmp_path / "videos.csv", rows)

    class Moody(Scripted):
        def __init__(self, given: Any) -> None:
            super().__init__(given, script=lambda request: next(said), id="moody")
            self.concurrency = 1

    tree = config(tmp_path, "moody", dimensions=["imaging_quality"], board={"missing": "available", "draws": 100})
    with registered("sensorium.judges", "moody", Moody):
        done = run(tree, out=tmp_path / "run")
    entry = done.result["dimensions"]["imaging_quality"]
    assert entry["models"]["m"]["mean"] == 4.75
    assert (entry["models"]["m"]["n"], entry["models"]["m"]["nulls"]) == (4, 2)
    reasons = {(one["status"], one["reason"]) for one in entry["null_reasons"]}
    assert reasons == {
        ("refused", "I'm sorry, but I can't help with that."),
        ("unparsed", "the answer was cut off inside its JSON object"),
    }
    assert next(said, None) is None  # the cut answer was asked for twice more


def test_a_prompt_that_is_not_used_and_one_that_is(tmp_path: Path) -> None:
    """VJ-5: a custom prompt; the wrong one lowers the score of an alignment dimension."""

    def reading(request: JudgeRequest) -> Any:
        answer = brightness(request)
        if "score" in answer and request.step == "score":
            words = json.dumps([getattr(part, "text", "") for part in request.content])
            answer["score"] = 1 if "a dark night" in words else answer["score"]
        return answer

    class Reader(Scripted):
        def __init__(self, given: Any) -> None:
            super().__init__(given, script=reading, id="reader")

    scores = {}
    for name, prompt in (("right", 'a "bright" day, 1/2'), ("wrong", "a dark night")):
        folder = tmp_path / name
        folder.mkdir()
        write_clip(folder / "v.mp4", 200)
        row = {"model": "m", "prompt_id": "x", "prompt": prompt, "sample": 0, "path": "v.mp4"}
        write_manifest(folder / "videos.csv", [row])
        tree = config(folder, "reader", dimensions=["imaging_quality", "video_text_consistency"])
        with registered("sensorium.judges", "reader", Reader):
            run(tree, out=folder / "run")
        found = records(folder / "run")
        blind, seeing = found["imaging_quality", "x", 0, "m"], found["video_text_consistency", "x", 0, "m"]
        assert blind.notes["prompt"] == "not used"
        assert blind.notes["examples"] == 0
        store = AnswerStore(folder / "run" / "answers")
        transcript = json.dumps(store.transcript(seeing.request_keys[-1])["messages"], ensure_ascii=False)
        assert json.dumps(json.dumps(prompt))[1:-1] in transcript
        assert prompt.split()[-1] not in json.dumps(store.transcript(blind.request_keys[0])["messages"])
        scores[name] = (blind.score, seeing.score)
    assert scores["right"][0] == scores["wrong"][0]
    assert scores["right"][1] > scores["wrong"][1]


def test_nothing_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """VJ-6: the status is not 0, each file stands there with its nearest prompt, and nothing is written."""
    for name in ("an alleyy", "beech", "bed room"):
        (tmp_path / "scene" / "m").mkdir(parents=True, exist_ok=True)
        (tmp_path / "scene" / "m" / f"{name}.mp4").write_bytes(b"")
    text = f"kind: judge\nvideos: {{root: '{tmp_path}'}}\ndimensions: [scene]\njudge: scripted\n"
    (tmp_path / "judge.yaml").write_text(text)
    assert main(["judge", "run", str(tmp_path / "judge.yaml"), "--out", str(tmp_path / "run")]) == 2
    told = capsys.readouterr().err
    for name, nearest in (("an alleyy", "Alley"), ("beech", "Beach"), ("bed room", "Bedroom")):
        assert f"{name}.mp4 (nearest prompt: '{nearest}" in told
    assert not (tmp_path / "run").exists()


def test_strict_refuses_gaps(tmp_path: Path) -> None:
    write_grid(tmp_path, prompts=2, models=2)
    rows = (tmp_path / "videos.csv").read_text().splitlines()
    (tmp_path / "videos.csv").write_text("\n".join(rows[:-1]) + "\n")
    tree = config(tmp_path, "scripted")
    tree["videos"]["strict"] = True
    with pytest.raises(DataError, match=r"videos\.strict: 3 cells have no video: imaging_quality/q1/0/m1"):
        run(tree, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_plan_is_what_the_run_then_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Calls and pictures exactly; tokens and cost are estimates by the table."""
    write_grid(tmp_path, prompts=2, models=3)
    with Loopback() as server:
        prices = {"m": {"prompt": 1.0, "completion": 2.0}}
        tree = config(tmp_path, endpoint(server.url, prices=prices, max_images=8))
        rows = planned(tree)
        assert server.requests == []
        run(tree, out=tmp_path / "run")
        pictures = [
            part for body in server.requests for part in body["messages"][1]["content"] if part["type"] == "image_url"
        ]
    told = total(rows)
    assert (told.cells, told.calls, told.pictures) == (18, len(server.requests), len(pictures))
    assert [row.calls for row in rows] == [6, 4, 30]  # 9 pictures of a joint request are more than 8: two groups
    assert told.cost == pytest.approx((told.prompt_tokens + 2 * told.completion_tokens) / 1e6)
    (tmp_path / "judge.yaml").write_text(json.dumps(tree))
    assert main(["judge", "run", str(tmp_path / "judge.yaml"), "--dry-run"]) == 0
    printed = capsys.readouterr().out
    assert "total" in printed
    assert f"{told.calls}" in printed


def test_a_budget_stops_the_run_and_a_higher_one_ends_it(tmp_path: Path) -> None:
    write_grid(tmp_path, prompts=2, models=2)
    with Loopback() as server:
        prices = {"m": {"prompt": 10.0, "completion": 10.0}}
        tree = config(tmp_path, endpoint(server.url, prices=prices), max_cost=0.06)
        with pytest.raises(RunError, match=r"stopped before exceeding max_cost 0\.06"):
            run(tree, out=tmp_path / "run")
        spent = AnswerStore(tmp_path / "run" / "answers").usage()
        assert 0 < spent.cost <= 0.06
        assert spent.calls == len(server.requests)
        assert main(["judge", "resume", str(tmp_path / "run"), "--max-cost", "5"]) == 0
        assert max(server.answered.values()) == 1
    usage = json.loads((tmp_path / "run" / "result.json").read_text())["usage"]
    assert usage["calls"] == len(server.answered)
    assert usage["cost"] == pytest.approx(len(server.answered) * 110 * 10 / 1e6)


def test_a_budget_without_prices_is_refused(tmp_path: Path) -> None:
    write_grid(tmp_path, prompts=1, models=1)
    with pytest.raises(ConfigError, match="no cost would ever be counted"):
        run(config(tmp_path, endpoint("http://localhost:1/v1"), max_cost=1.0), out=tmp_path / "run")


def test_401_stops_at_once_and_the_key_is_nowhere(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A planted key stands in no file, log, message or page, of a run that is refused and of one that ends."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("JUDGE_KEY", "planted-51c0ffee")
    write_grid(tmp_path, prompts=1, models=2)
    (tmp_path / "judge.yaml").write_text("")
    for key, status in (("another", 2), ("planted-51c0ffee", 0)):
        with Loopback(key=key) as server:
            tree = config(tmp_path, endpoint(server.url, api_key_env="JUDGE_KEY"))
            (tmp_path / "judge.yaml").write_text(json.dumps(tree))
            out = tmp_path / f"run-{status}"
            assert main(["judge", "run", str(tmp_path / "judge.yaml"), "--out", str(out)]) == status
            if status:
                assert len(server.requests) <= 4  # each worker's first
                assert not (out / "result.json").exists()
    printed = capsys.readouterr()
    assert "the key was refused" in printed.err
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert not any(b"planted-51c0ffee" in path.read_bytes() for path in files)
    assert "planted-51c0ffee" not in caplog.text + printed.out + printed.err


def test_failed_judgements_are_made_again_on_resume(tmp_path: Path) -> None:
    write_grid(tmp_path, prompts=1, models=2)
    broken = True

    def faults(body: Any, before: int) -> Fault | None:
        if broken and len(server.answered) >= 2:
            return Fault("status", 500)
        return None

    with Loopback(faults) as server:
        tree = config(
            tmp_path, endpoint(server.url, concurrency=1, attempts=1), dimensions=["imaging_quality", "color"]
        )
        run(tree, out=tmp_path / "run")
        lost = [record for record in records(tmp_path / "run").values() if record.status == "error"]
        assert len(lost) == 2
        assert "status 500: injected (after 1 attempts)" in lost[0].reason
        broken = False
        assert main(["judge", "resume", str(tmp_path / "run"), "--retry-errors"]) == 0
        assert max(server.answered.values()) == 1
    assert {record.status for record in records(tmp_path / "run").values()} == {"ok"}


class Measuring:
    """A judge that measures: in a decoding process it looks at the cell, and here it gives that a score."""

    id, family, protocol_version = "counting", "metric", "1"

    def __init__(self, given: Any) -> None:
        self.measure = attrgetter("sample")

    def judge(self, cell: VideoCell, dimension: Dimension, measured: Any) -> Outcome:
        if dimension.family == "alignment":
            return Outcome(None, "unsupported", "no encoder")
        return Outcome(1.5 + measured, "ok", f"sample {measured}", (0,), notes={"uncertainty": 0.5})


def test_a_judge_that_measures_plugs_in_beside_the_others(tmp_path: Path) -> None:
    write_grid(tmp_path, prompts=1, models=2, samples=2)
    with registered("sensorium.judges", "counting", Measuring):
        done = run(config(tmp_path, "counting"), out=tmp_path / "run")
    found = records(tmp_path / "run")
    assert found["imaging_quality", "q0", 1, "m0"].score == 2.5
    assert found["imaging_quality", "q0", 1, "m0"].notes["uncertainty"] == 0.5
    assert found["imaging_quality", "q0", 1, "m0"].judge.id == "counting"
    assert found["color", "q0", 0, "m0"].status == "unsupported"
    assert done.result["unsupported"] == ["color"]
    assert done.result["usage"]["calls"] == 0


@pytest.mark.slow
def test_two_hundred_videos_in_flat_memory(tmp_path: Path) -> None:
    """At concurrency 8 memory holds the videos under way, not those that are done.

    Frames of 512 x 512 as arrays are 4.7 MB for each video: 150 more videos would be 700 MB if they were kept.
    """
    from sensorium.judging import running

    most = []
    original = running.Execution.run

    async def watched(self: running.Execution) -> None:
        await original(self)
        most.append((self.material.most, len(self.material._made)))

    peaks = []
    for prompts in (12, 50):
        folder = tmp_path / str(prompts)
        folder.mkdir()
        write_grid(folder, prompts=prompts, models=4, frames=6, size=(512, 512))
        with pytest.MonkeyPatch.context() as patch, Loopback() as server:
            patch.setattr(running.Execution, "run", watched)
            run(config(folder, endpoint(server.url, concurrency=8)), out=folder / "run")
        assert len(records(folder / "run")) == 12 * prompts
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)  # MiB, never falls
    held, left = most[-1]
    assert held <= 8 * 4 + 4
    assert left == 0
    assert peaks[1] - peaks[0] < 150
