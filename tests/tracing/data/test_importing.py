"""Import: what is set aside, pseudonyms, the same bytes again, and nothing left of a killed one."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from sensorium.core.config import build
from sensorium.core.errors import DataError
from sensorium.data.importing import ImportConfig, import_dataset
from sensorium.tracing.data import schema
from sensorium.tracing.data.catalogue import open_tracing
from sensorium.tracing.data.dataset import TracingDataset
from sensorium.tracing.data.importing import TracingImportConfig, import_tracing
from sensorium.tracing.data.simulated import SimulationConfig, draw, simulation_of

LOG = "user_id,log_id,sequence_id,correct\n" + "".join(
    f"pupil{n % 7},{n},s{n % 5},{(n * 7) % 3 % 2}\n" for n in range(60)
) + "short,99,s1,1\nshort,98,s1,0\n"  # fmt: skip
FILE = "2015_100_skill_builders_main_problems.csv"


def config(**options: object) -> TracingImportConfig:
    return build(TracingImportConfig, {"reader": "assist2015", **options}, source="test")


def test_short_students_are_set_aside_and_counted(folder: Path, tmp_path: Path) -> None:
    (folder / FILE).write_text(LOG)
    data = import_tracing(folder, tmp_path / "out", config())
    assert data.info.counts["short_students"] == 1
    assert data.info.counts["rejected: student with fewer than 3 answers"] == 2
    assert data.table(schema.REJECTED)["row"].to_list() == [63, 62]
    assert data.info.counts["responses"] == 60
    with pytest.raises(DataError, match="no answer is left"):
        import_tracing(folder, tmp_path / "none", config(min_responses=100))


def test_two_imports_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    (folder / FILE).write_text(LOG)
    first, second = (import_tracing(folder, tmp_path / name, config(name="x")) for name in ("a", "b"))
    assert first.info.checksums == second.info.checksums
    assert (first.root / "dataset.json").read_bytes() == (second.root / "dataset.json").read_bytes()


KILLED = """
import sys, time
from sensorium.core.config import build
from sensorium.tracing.data import importing
def slow(folder, *rest, **more):
    real(folder, *rest, **more)
    print("written", flush=True)
    time.sleep(60)
real, importing.write_tables = importing.write_tables, slow
config = build(importing.TracingImportConfig, {"reader": "assist2015", "name": "x"}, source="test")
importing.import_tracing(sys.argv[1], sys.argv[2], config)
"""


def test_a_killed_import_leaves_nothing_and_is_done_again(folder: Path, tmp_path: Path) -> None:
    (folder / FILE).write_text(LOG)
    out = tmp_path / "sets" / "x"
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder), str(out)], stdout=subprocess.PIPE, env=dict(os.environ)
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"written\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(0.05)
    assert not out.exists()
    data = import_tracing(folder, out, config(name="x"))
    whole = import_tracing(folder, tmp_path / "whole", config(name="x"))
    assert data.info.checksums == whole.info.checksums
    assert [path.name for path in out.parent.iterdir()] == ["x"]


def test_pseudonyms_hide_ids_and_stay_the_same(folder: Path, tmp_path: Path, sensorium_home: Path) -> None:
    (folder / FILE).write_text(LOG)
    first = import_tracing(folder, tmp_path / "a", config(pseudonymise=True, name="x"))
    again = import_tracing(folder, tmp_path / "b", config(pseudonymise=True, name="x"))
    ids = first.table(schema.STUDENTS)["student_id"]
    assert ids.str.contains("^[0-9a-f]{16}$").all()
    assert ids.n_unique() == 7
    assert first.info.checksums == again.info.checksums
    for file in first.root.iterdir():
        assert b"pupil" not in file.read_bytes()
    key = sensorium_home / "pseudonyms.key"
    assert key.stat().st_mode & 0o077 == 0
    key.unlink()
    other = import_tracing(folder, tmp_path / "c", config(pseudonymise=True, name="x"))
    assert set(other.table(schema.STUDENTS)["student_id"]).isdisjoint(ids)


def test_readers_of_the_other_kind_are_refused(folder: Path, tmp_path: Path) -> None:
    (folder / FILE).write_text(LOG)
    with pytest.raises(DataError, match="sensorium data import"):
        import_tracing(folder, tmp_path / "a", build(TracingImportConfig, {"reader": "csv"}, source="test"))
    with pytest.raises(DataError, match="sensorium trace import assist2015"):
        import_dataset(folder, tmp_path / "b", build(ImportConfig, {"reader": "assist2015"}, source="test"))


def test_names_and_kinds(tmp_path: Path, sensorium_home: Path, few_learners: TracingDataset) -> None:
    with pytest.raises(DataError, match="did you mean 'assist2009'"):
        open_tracing("asist2009")
    (tmp_path / "dataset.json").write_text('{"kind": "interactions"}')
    with pytest.raises(DataError, match="tracing needs one of kind 'tracing'"):
        TracingDataset.open(tmp_path)
    assert open_tracing(few_learners.root).digest() == few_learners.digest()


def test_simulated_answers_follow_their_probabilities(few_learners: TracingDataset) -> None:
    drawn = simulation_of(few_learners)
    assert drawn.response.tolist() == few_learners.table(schema.RESPONSES)["response"].to_list()
    many = draw(SimulationConfig(students=400, seed=4))
    bins = (many.p * 5).astype(int)
    for place in range(5):
        inside = bins == place
        assert abs(many.response[inside].mean() - many.p[inside].mean()) < 0.03


def test_first_attempts_leave_out_repeats(few_learners: TracingDataset) -> None:
    table = few_learners.table(schema.RESPONSES)
    again = table.select((pl.col("question") == pl.col("question").shift(1)).over("student").fill_null(False))
    assert len(few_learners.answers("first").question) == table.height - int(again.to_series().sum())
