"""The documents keep their word: snippets run, links lead somewhere, commands exist, numbers have rows."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
SNIPPETS = sorted((ROOT / "docs" / "snippets").glob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_blocks_are_snippets_that_run(page: Path):
    """What a page shows in Python is, to the letter, a file under docs/snippets, which the next test runs."""
    files = {path.read_text(encoding="utf-8").strip() for path in SNIPPETS}
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL):
        assert block.strip() in files, f"{name_of(page)} shows Python that is in no file of docs/snippets:\n{block}"


@pytest.mark.parametrize("snippet", SNIPPETS, ids=name_of)
def test_snippets_run(snippet: Path, demo_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SENSORIUM_HOME", str(demo_home))
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(snippet), run_name="__main__")


@pytest.fixture(scope="module")
def demo_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that already holds a small demo catalogue with its features."""
    from sensorium.data.demo import DemoConfig, generate_demo
    from sensorium.encoders.encode import encode

    home = tmp_path_factory.mktemp("home")
    data = generate_demo(home / "datasets" / "demo", DemoConfig(users=120, items=200))
    for encoder in ("tfidf-svd", "colour-histogram"):
        encode(data, encoder)
    return home


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (page.parent / target).exists(), f"{name_of(page)} links to {target}, which is not there"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_exist(page: Path):
    """Every `sensorium COMMAND` that a page shows in a block is a command, and each of its flags is known."""
    import typer

    from sensorium.cli import app

    root = typer.main.get_command(app)
    blocks = re.findall(r"```(?:sh|bash|console)?\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for line in "\n".join(blocks).replace("\\\n", " ").splitlines():
        words = line.split("#")[0].split()
        if not words or words[0].removeprefix("$").rpartition("/")[2] != "sensorium":
            continue
        command, rest = root, words[1:]
        while rest and rest[0] in getattr(command, "commands", {}):
            command, rest = command.commands[rest[0]], rest[1:]
        flags = {flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)}
        flags |= {"--help", "-h"}
        assert not getattr(command, "commands", {}) or words == ["sensorium"] or set(rest) <= flags, (
            f"{name_of(page)}: no such command: {line}"
        )
        unknown = [word for word in rest if re.match(r"--?[a-z]", word) and word.split("=")[0] not in flags]
        assert not unknown, f"{name_of(page)}: {line}: unknown {unknown}"


def test_every_result_page_has_its_rows_and_its_command():
    for page in (ROOT / "docs" / "results").glob("*.md"):
        text = page.read_text(encoding="utf-8")
        topics = [f"{page.stem}*", *re.findall(r"<!-- rows: ([a-z0-9-]+) -->", text)]
        rows = [path for topic in topics for path in (ROOT / "docs" / "results" / "rows").glob(f"{topic}.jsonl")]
        assert rows, f"{name_of(page)}: no rows are committed for it"
        named = re.search(r"sensorium experiment|python benchmarks/", text)
        assert named, f"{name_of(page)} names no command"


def test_example_files_are_valid_configs():
    from sensorium.core.config import build, load_yaml
    from sensorium.experiments.jobs import job_class

    examples = [path for path in (ROOT / "examples").rglob("*.yaml") if "experiments" not in path.parts]
    assert examples
    for path in examples:
        build(job_class(load_yaml(path), name_of(path)).Config, load_yaml(path), source=name_of(path))


def test_tables_of_results_are_made_from_their_rows():
    outcome = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "fill_results.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
