"""recommend and evaluate."""

from pathlib import Path

import polars as pl
import pytest

from sensorium.core.files import read_json
from sensorium.serving.recommend import score

from .conftest import LONG_TITLE, Command


def items_in(out: str) -> list[str]:
    """The item ids of the tables in an answer."""
    return [line.split()[1] for line in out.splitlines() if line.split()[:1] and line.split()[0].isdigit()]


def test_fewer_remain_than_are_asked_for(command: Command, runs: dict[str, Path], tmp_path: Path):
    """SV-1: two of five, and at most three of three candidates."""
    exclude, only = tmp_path / "seen.txt", tmp_path / "stock.txt"
    exclude.write_text("11\n12\n13\nnever-heard-of\n")
    said = command("recommend", runs["itemknn"], "--user", "most", "-k", "5", "--exclude", exclude)
    assert said.status == 0
    assert sorted(items_in(said.out)) == ["00", "10"]
    assert "user most (2 of 5 available)" in said.out
    assert "note: 1 of 4 ids in" in said.err
    assert LONG_TITLE in said.out  # a pipe gets the whole title
    only.write_text("00\n01\n10\n")
    said = command("recommend", runs["itemknn"], "--user", "most", "-k", "5", "--only", only)
    assert sorted(items_in(said.out)) == ["00", "10"]


def test_unknown_users_and_users_who_have_everything(command: Command, runs: dict[str, Path]):
    """CS-1 and TR-1: each request has its answer, none a traceback."""
    said = command("recommend", runs["bpr"], "-u", "u03", "-u", "stranger", "-u", "all", "-u", "u04", "-k", "2")
    assert said.status == 0
    heads = [line for line in said.out.splitlines() if line.startswith("user ")]
    assert heads == ["user u03", "user stranger: unknown user", "user all: nothing left to recommend", "user u04"]
    assert len(items_in(said.out)) == 4


def test_the_scores_of_the_answer_are_the_scores_of_the_items(command: Command, runs: dict[str, Path]):
    """SV-8: the printed list in the order of the scores that the library gives for its items."""
    listed = items_in(command("recommend", runs["bpr"], "--user", "u05", "-k", "50").out)
    scores = score(runs["bpr"], user="u05", items=listed)
    assert scores == sorted(scores, reverse=True)
    assert len(listed) == 7  # of fourteen, u05 has seven


def test_a_history_is_answered_by_models_that_can(command: Command, runs: dict[str, Path]):
    said = command("recommend", runs["itemknn"], "--history", "01, 02,03", "-k", "4")
    assert said.out.startswith("history 01, 02, 03\n")
    assert not {"01", "02", "03"} & set(items_in(said.out))
    said = command("recommend", runs["bpr"], "--history", "01,02")
    assert said.status == 0
    assert "note: 'bpr' was not trained with this history: it is folded in (average)" in said.err


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--user", "u01", "--history", "01"],
        ["--all"],
        ["--user", "u01", "--out", "x.parquet"],
        ["--all", "--user", "u01"],
    ],
)
def test_recommend_for_whom(command: Command, runs: dict[str, Path], words: list[str]):
    said = command("recommend", runs["bpr"], *words)
    assert said.status == 2
    assert said.err.startswith("error: ")
    assert "--all" in said.err


def test_lists_for_everybody_evaluate_to_the_numbers_of_the_run(
    command: Command, runs: dict[str, Path], shop: str, tmp_path: Path
):
    out = tmp_path / "lists.parquet"
    said = command("recommend", runs["bpr"], "--all", "--out", out, "-k", "5", "--as-evaluated")
    assert said.status == 0
    assert "rows for 26 users" in said.out
    assert pl.read_parquet(out)["user_id"].n_unique() == 26
    own = read_json(runs["bpr"] / "result.json")["test"]
    for lists in (out, runs["bpr"] / "lists.parquet"):
        words = ["--data", shop, "--split", "random_per_user", "-k", "3", "-k", "5", "-m", "recall", "-m", "ndcg"]
        said = command("evaluate", lists, *words)
        assert said.status == 0
        printed = {line.split()[0]: line.split()[1] for line in said.out.splitlines()[2:6]}
        assert printed == {metric: f"{own['metrics'][metric]:.6f}" for metric in own["metrics"] if "cov" not in metric}
    said = command("evaluate", out, "--data", shop, "--split", "random_per_user", "-k", "10")
    assert said.status == 2
    assert "k = 10" in said.err


def test_evaluate_says_what_is_wrong(command: Command, runs: dict[str, Path], shop: str):
    lists = runs["bpr"] / "lists.parquet"
    assert "did you mean" in command("evaluate", lists, "--data", "shpo", "--split", "random_per_user").err
    assert "random_per_user" in command("evaluate", lists, "--data", shop, "--split", "random").err
    assert "ratio" in command("evaluate", lists, "--data", shop, "--split", "{name: cold_items, ration: 0.1}").err
    said = command("evaluate", lists, "--data", shop, "--split", "random_per_user", "--part", "tset")
    assert said.err == "error: --part tset: not known; did you mean 'test'? (known: test, valid)\n"
