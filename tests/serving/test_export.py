"""Lists for everybody: equal to single answers, whatever the blocks, and not lost with the process."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from sensorium.core.errors import ConfigError, RunError
from sensorium.experiments.evaluating import evaluate
from sensorium.experiments.loading import LoadedRun
from sensorium.serving import export
from sensorium.serving.export import recommend_all
from sensorium.serving.recommend import recommend

from .conftest import LOG_ITEMS, MODELS


@pytest.mark.parametrize("model", MODELS)
def test_the_file_holds_what_each_user_is_answered(loaded: dict[str, LoadedRun], tmp_path: Path, model: str):
    """SV-7: every user at once, by external ids, with scores and ranks."""
    out = tmp_path / "lists.parquet"
    written = recommend_all(loaded[model], out, k=4, exclude=["i03"], block=7)
    users = loaded[model].dataset.user_ids().to_list()
    answers = recommend(loaded[model], users=users, k=4, exclude=["i03"]).answers
    expected = [(answer.user_id, item.item_id, item.rank, item.score) for answer in answers for item in answer.items]
    table = pl.read_parquet(out)
    assert table.columns == ["user_id", "item_id", "rank", "score"]
    assert table.rows() == expected
    assert (written.rows, written.users, written.empty) == (len(expected), 31, 1)  # one user has everything
    assert [path.name for path in tmp_path.iterdir()] == ["lists.parquet"]


def test_its_lists_evaluate_to_the_numbers_of_the_run(
    loaded: dict[str, LoadedRun], runs: dict[str, Path], tmp_path: Path
):
    run = loaded["bpr"]
    recommend_all(run, tmp_path / "lists.parquet", k=5, as_evaluated=True)
    found = evaluate(
        tmp_path / "lists.parquet", run.dataset, run.split, ks=[3, 5], metrics=["recall"], mask="train+valid"
    )
    own = pl.read_parquet(runs["bpr"] / "per_user.parquet")
    assert found.n == len(own)
    for metric in ("recall@3", "recall@5"):
        assert found.summary[metric] == pytest.approx(own[metric].mean(), abs=1e-9)


def test_as_evaluated_is_the_file_of_the_run_where_rows_are_cut(cut_run: Path, tmp_path: Path):
    """Items that only rows beyond `max_len` hold did not compete at the test."""
    recommend_all(cut_run, tmp_path / "lists.parquet", k=LOG_ITEMS, as_evaluated=True, block=7)
    assert pl.read_parquet(tmp_path / "lists.parquet").equals(pl.read_parquet(cut_run / "lists.parquet"))


def test_a_killed_export_goes_on(loaded: dict[str, LoadedRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """SV-7: what an interrupted call has made is not made again, and the file is the same."""
    whole, out = tmp_path / "whole.parquet", tmp_path / "lists.parquet"
    recommend_all(loaded["bpr"], whole, k=3, block=10)
    made: list[int] = []
    real = export.ranked_lists

    def killed(run: LoadedRun, users: Any, *arguments: Any, **options: Any) -> Any:
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(len(users))
        return real(run, users, *arguments, **options)

    monkeypatch.setattr(export, "ranked_lists", killed)
    with pytest.raises(KeyboardInterrupt):
        recommend_all(loaded["bpr"], out, k=3, block=10)
    assert not out.exists()
    monkeypatch.setattr(export, "ranked_lists", real)
    written = recommend_all(loaded["bpr"], out, k=3, block=10)
    assert written.reused == 20
    assert out.read_bytes() == whole.read_bytes()
    assert (
        recommend_all(loaded["bpr"], out, k=3, block=10).reused == 0
    )  # a finished export leaves nothing to go on from


@pytest.mark.parametrize("change", [{"k": 2}, {"only": ["i01", "i02"]}, {"as_evaluated": True}, {"model": "lightgcn"}])
def test_parts_of_another_question_are_not_used(
    loaded: dict[str, LoadedRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
):
    out, fresh = tmp_path / "lists.parquet", tmp_path / "fresh.parquet"
    monkeypatch.setattr(export, "_join", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        recommend_all(loaded["bpr"], out, k=3, block=10)
    monkeypatch.undo()
    model, options = (
        change.get("model", "bpr"),
        {"k": 3, "block": 10, **{k: v for k, v in change.items() if k != "model"}},
    )
    assert recommend_all(loaded[model], out, **options).reused == 0
    recommend_all(loaded[model], fresh, **options)
    assert out.read_bytes() == fresh.read_bytes()


def test_blocks_change_nothing(loaded: dict[str, LoadedRun], tmp_path: Path):
    tables = []
    for block in (1, 5, 1000):
        recommend_all(loaded["lightgcn"], tmp_path / "lists.parquet", k=5, block=block)
        tables.append(pl.read_parquet(tmp_path / "lists.parquet"))
    assert tables[0].equals(tables[1])
    assert tables[0].equals(tables[2])


def test_when_nobody_has_anything_left_the_file_is_empty(loaded: dict[str, LoadedRun], tmp_path: Path):
    ids = loaded["bpr"].dataset.item_ids().to_list()
    written = recommend_all(loaded["bpr"], tmp_path / "lists.parquet", exclude=ids)
    assert (written.rows, written.users, written.empty) == (0, 0, 32)
    assert pl.read_parquet(tmp_path / "lists.parquet").columns == ["user_id", "item_id", "rank", "score"]


def test_threads_change_nothing(loaded: dict[str, LoadedRun], tmp_path: Path):
    written = {}
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            out = tmp_path / f"{threads}.parquet"
            recommend_all(loaded["lightgcn"], out, k=5, block=4)
            written[threads] = out.read_bytes()
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert written[1] == written[3]


def test_two_processes_on_one_file(loaded: dict[str, LoadedRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out = tmp_path / "lists.parquet"
    real = export.ranked_lists

    def meanwhile(*arguments: Any, **options: Any) -> Any:
        with pytest.raises(RunError, match="another process"):
            recommend_all(loaded["bpr"], out, k=3)
        return real(*arguments, **options)

    monkeypatch.setattr(export, "ranked_lists", meanwhile)
    assert recommend_all(loaded["bpr"], out, k=3).users == 31


def test_wrong_outputs_and_lengths(loaded: dict[str, LoadedRun], tmp_path: Path):
    with pytest.raises(ConfigError, match=r"name the file lists\.parquet"):
        recommend_all(loaded["bpr"], tmp_path / "lists.csv")
    with pytest.raises(ConfigError, match="at least 1"):
        recommend_all(loaded["bpr"], tmp_path / "lists.parquet", k=0)
