"""run, resume, compare, report, experiment, audit."""

import csv
import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sensorium.core.files import read_json
from sensorium.core.rundir import RunDirectory
from sensorium.experiments import audit as auditing
from sensorium.experiments.audit import AuditResult, Check

from .conftest import CONFIG, Command


def test_a_run_says_what_it_did_and_where(command: Command, config: Path, tmp_path: Path):
    said = command("run", config, "--set", "model.k=7", "--out", tmp_path / "x")
    assert said.status == 0
    result = read_json(tmp_path / "x" / "result.json")
    assert f"recall@5    {result['test']['metrics']['recall@5']:.4f}" in said.out
    assert "itemknn on shop" in said.out
    assert f"run: {tmp_path / 'x'}" in said.out
    assert "uses other users' future" in said.out
    assert (tmp_path / "x" / "report.html").exists()
    assert RunDirectory.open(tmp_path / "x").config["model"]["k"] == 7


@pytest.mark.parametrize(
    ("change", "words", "expected"),
    [
        ("ks: [20]", [], "ks: unknown key; did you mean evaluation.ks?"),
        ("", ["--set", "split=none"], "split: unknown key; did you mean data.split?"),
        ("", ["--set", "model.dmi=3"], "model.dmi: unknown key"),
        ("", ["--config_files", "x.yaml"], "No such option: --config_files"),
    ],
)
def test_a_key_at_the_wrong_level(
    command: Command, config: Path, tmp_path: Path, change: str, words: list[str], expected: str
):
    """CF-1: the full path of the right key, in one line, before any work."""
    path = tmp_path / "run.yaml"
    path.write_text(config.read_text() + change + "\n")
    said = command("run", path, *words, "--out", tmp_path / "x")
    assert said.status == 2
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert expected in said.err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["selection=ndgc@5"], "did you mean 'ndcg'"),
        (["selection=recall@20"], "recall@3, recall@5"),
        (["evaluation.metrics=[auc]"], "'auc' measures predicted labels"),
    ],
)
def test_a_number_that_cannot_be_had(command: Command, config: Path, settings: list[str], expected: str):
    """CF-3: stops before data are loaded, with what can be chosen."""
    words = [word for setting in settings for word in ("--set", setting)]
    said = command("run", config, *words, "--set", "data.dataset=not-there")
    assert said.status == 2
    assert expected in said.err
    assert "no data set" not in said.err


def test_resume_of_what_is_complete_and_of_what_is_not_there(command: Command, runs: dict[str, Path], tmp_path: Path):
    said = command("resume", runs["bpr"])
    assert said.status == 0
    assert said.err == f"note: {runs['bpr']} is complete: nothing is left to do\n"
    for name in ("resume", "report", "recommend", "compare"):
        words = ["--user", "u01"] if name == "recommend" else []
        said = command(name, tmp_path / "nowhere", *words)
        assert (said.status, said.out) == (2, "")
        assert "holds no run" in said.err


def test_resume_comes_to_the_same_numbers(command: Command, runs: dict[str, Path], tmp_path: Path):
    copy = tmp_path / "bpr"
    shutil.copytree(runs["bpr"], copy)
    before = (copy / "result.json").read_text()
    (copy / "result.json").unlink()
    assert command("resume", copy).status == 0
    assert (copy / "result.json").read_text() == before


def test_two_processes_on_one_run(command: Command, runs: dict[str, Path], tmp_path: Path):
    """The second one is told who works there."""
    copy = tmp_path / "bpr"
    shutil.copytree(runs["bpr"], copy)
    (copy / "result.json").unlink()
    program = (
        "import sys; from sensorium.core.rundir import RunDirectory\n"
        f"with RunDirectory.open({str(copy)!r}).lock(): print('locked', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        said = command("resume", copy)
        other.communicate("")
    assert said.status == 2
    assert f"is in use by process {other.pid}" in said.err


def test_compare_on_a_pipe(command: Command, runs: dict[str, Path], tmp_path: Path):
    page = tmp_path / "page.html"
    said = command("compare", *runs.values(), "--html", page, "--baseline", "popularity")
    assert said.status == 0
    assert "popularity (baseline)" in said.out
    assert "recall@5 minus that of popularity" in said.out
    assert "note: this split uses other users' future" in said.out
    assert str(page) in said.err
    html = page.read_text()
    assert html.count("<svg") >= 3
    assert "http://www.w3.org" in html.replace("https", "http")  # the names of SVG itself, and no address to load from
    assert 'src="http' not in html
    assert "<script" not in html


def test_compare_in_other_formats(command: Command, runs: dict[str, Path]):
    written = command("compare", *runs.values(), "--format", "markdown", "-m", "ndcg@3")
    assert "| model | ndcg@3 |" in written.out
    rows = list(csv.DictReader(io.StringIO(command("compare", *runs.values(), "--format", "csv").out)))
    assert len(rows) == 3 * 6
    result = read_json(runs["bpr"] / "result.json")
    (own,) = [row for row in rows if row["label"] == "bpr" and row["metric"] == "ndcg@5"]
    assert float(own["mean"]) == result["test"]["metrics"]["ndcg@5"]
    said = command("compare", *runs.values(), "--format", "pdf")
    assert said.err == "error: --format pdf: not known (known: terminal, markdown, csv)\n"
    assert "did you mean 'ndcg@5'" in command("compare", *runs.values(), "-m", "ndgc@5").err


def test_report_is_written_again(command: Command, runs: dict[str, Path]):
    page = runs["itemknn"] / "report.html"
    before = page.read_text()
    page.unlink()
    said = command("report", runs["itemknn"])
    assert said.out == f"{page}\n"
    assert page.read_text() == before


def test_experiment_runs_what_is_missing(command: Command, shop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    base = "\n".join("  " + line for line in CONFIG.format(data=shop, model="popularity").splitlines())
    Path("plan.yaml").write_text(f"topic: quick\nbase:\n{base}\ncells: [{{name: one}}]\n")
    first = command("experiment", "plan.yaml", "--processes", "1")
    assert (first.status, "1 cells run" in first.out) == (0, True)
    again = command("experiment", "plan.yaml")
    assert "0 cells run, 1 were there" in again.out


@pytest.mark.parametrize(("passed", "status"), [(True, 0), (None, 0), (False, 1)])
def test_audit_ends_with_its_verdict(
    command: Command, monkeypatch: pytest.MonkeyPatch, passed: bool | None, status: int
):
    checks = (Check("permuted items", True, "fine"), Check("uniform items", passed, "0.1 above chance"))
    monkeypatch.setattr(auditing, "audit", lambda config, overrides: AuditResult("bpr", str(config), checks))
    said = command("audit", "run.yaml", "--set", "seed=1")
    assert said.status == status
    assert said.out.splitlines()[0] == "bpr on run.yaml"
    assert "uniform items: 0.1 above chance" in said.out
