"""Run directories: logs that survive a kill, one process at a time, versions that are told."""

import subprocess
import sys
from pathlib import Path

import pytest

from sensorium.core.errors import RunError
from sensorium.core.files import read_json, write_json
from sensorium.core.rundir import RunDirectory


def test_create_open_and_result(tmp_path: Path):
    run = RunDirectory.create(tmp_path / "run", {"kind": "recommend", "lr": 0.001})
    again = RunDirectory.open(run.path)
    assert again.config == {"kind": "recommend", "lr": 0.001}
    assert again.kind == "recommend"
    assert again.result is None
    run.write_result({"recall@20": 0.5})
    assert again.result == {"format_version": 1, "recall@20": 0.5}


def test_a_folder_in_use_is_not_taken(tmp_path: Path):
    RunDirectory.create(tmp_path / "run", {"kind": "x"})
    with pytest.raises(RunError, match="already holds a run"):
        RunDirectory.create(tmp_path / "run", {"kind": "x"})
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "mine.txt").write_text("keep")
    with pytest.raises(RunError, match="not empty"):
        RunDirectory.create(tmp_path / "notes", {"kind": "x"})
    with pytest.raises(RunError, match="holds no run"):
        RunDirectory.open(tmp_path / "notes")


def test_a_later_format_says_which_release_wrote_it(tmp_path: Path):
    run = RunDirectory.create(tmp_path / "run", {"kind": "x"})
    environment = read_json(run.path / "environment.json")
    write_json(run.path / "environment.json", environment | {"format_version": 99})
    with pytest.raises(RunError, match=r"format 99.*update sensorium"):
        RunDirectory.open(run.path)


def test_log_with_a_half_written_line(tmp_path: Path):
    run = RunDirectory.create(tmp_path / "run", {"kind": "x"})
    for epoch in range(3):
        run.append("metrics.jsonl", {"epoch": epoch})
    with (run.path / "metrics.jsonl").open("a") as handle:
        handle.write('{"epoch": 3, "lo')
    assert [record["epoch"] for record in run.records("metrics.jsonl")] == [0, 1, 2]
    run.keep_records("metrics.jsonl", 3)
    assert (run.path / "metrics.jsonl").read_text().endswith('{"epoch": 2}\n')
    run.keep_records("metrics.jsonl", 1)
    run.append("metrics.jsonl", {"epoch": 1})
    assert [record["epoch"] for record in run.records("metrics.jsonl")] == [0, 1]
    with pytest.raises(RunError, match="has 2 lines, the checkpoint was made after 5"):
        run.keep_records("metrics.jsonl", 5)


def test_two_processes_on_one_run(tmp_path: Path):
    run = RunDirectory.create(tmp_path / "run", {"kind": "x"})
    code = (
        "import sys, time\n"
        "from sensorium.core.rundir import RunDirectory\n"
        "with RunDirectory.open(sys.argv[1]).lock():\n"
        "    print('locked', flush=True); time.sleep(60)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(run.path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(RunError, match=f"in use by process {holder.pid}"), run.lock():
            pass
    finally:
        holder.kill()
        holder.wait()
    with run.lock():  # the lock ended with its process
        pass


def test_environment_names_versions_and_no_host(tmp_path: Path):
    import platform

    run = RunDirectory.create(tmp_path / "run", {"kind": "x"})
    environment = read_json(run.path / "environment.json")
    assert environment["packages"]["sensorium"]
    assert platform.node() not in (run.path / "environment.json").read_text()
