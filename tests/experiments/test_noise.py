"""The report of suspicious rows: of a data set, of a run, read back by an import."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sensorium.cli import main
from sensorium.data.dataset import Dataset
from sensorium.data.importing import ImportConfig, import_dataset
from sensorium.data.splits import make_split
from sensorium.data.view import train_view
from sensorium.experiments.noise import find_noise, write_weights
from sensorium.experiments.noise_page import write_noise_page
from sensorium.experiments.run import run

from .world import run_config, write_world


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of GUIDER on rows with added noise."""
    folder = tmp_path_factory.mktemp("noisy")
    world = write_world(folder / "world", users=120, rows=16)
    config = run_config(
        world.root,
        data={"dataset": str(world.root), "split": "column", "noise": {"rate": 0.3}},
        model={
            "name": "guider",
            "student": {"name": "lightgcn", "dim": 8},
            "calibration": {"start": 1, "ramp": 2, "every": 1},
        },
    )
    return run(config, out=folder / "run").path


def test_a_run_s_train_rows_come_with_its_teacher_s_evidence_and_the_known_noise(noisy: Path) -> None:
    report = find_noise(noisy)
    assert report.planted is not None
    assert report.planted.share == pytest.approx(0.3 / 1.3, abs=0.001)
    assert report.planted.auc > 0.65
    rows = report.rows
    assert {"evidence text", "teacher", "planted"} <= set(rows.columns)
    assert rows["weight"].is_sorted()
    tenth = rows.height // 10
    assert rows["planted"].head(tenth).mean() > 2 * rows["planted"].tail(tenth).mean()  # type: ignore[operator]
    first = rows.row(0, named=True)
    assert "against it" in report.sentence(first)
    assert "what similar users had" in report.sentence(first)


def test_other_runs_and_data_sets_are_weighed_by_content_alone(world: Dataset, tmp_path: Path) -> None:
    report = find_noise(world.root)
    assert report.rows.height == world.n_interactions
    assert "teacher" not in report.rows.columns
    assert report.planted is None
    page = write_noise_page(report, tmp_path / "noise.html", top=7).read_text()
    assert page.count("<tr>") == 8
    assert "<svg" in page
    assert 'src="http' not in page


def test_titles_are_other_people_s_words(tmp_path: Path) -> None:
    world = write_world(tmp_path / "world")
    items = world.items().collect().with_columns(title=pl.lit("<script>alert(1)</script>"))
    items.write_parquet(world.root / "items.parquet")
    page = write_noise_page(find_noise(world.root), tmp_path / "noise.html", top=3).read_text()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


def test_the_command_prints_writes_and_the_import_reads_it_back(
    noisy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clean = tmp_path / "clean.parquet"
    assert main(["noise", str(noisy), "--top", "4", "--out", str(clean)]) == 0
    said = capsys.readouterr().out
    assert "AUC against the planted rows" in said
    assert (noisy / "noise.html").exists()
    table = pl.read_parquet(clean)
    log = table.select("user_id", "item_id")
    log.write_csv(tmp_path / "log.csv")
    target = tmp_path / "set"
    words = ["data", "import", str(tmp_path / "log.csv"), "--weights", str(clean), "--out", str(target)]
    assert main(words) == 0
    dataset = Dataset.open(target)
    rows = dataset.interactions().collect()
    wanted = dict(zip(table.select("user_id", "item_id").iter_rows(), table["weight"], strict=True))
    users, items = dataset.user_ids(), dataset.item_ids()
    for user, item, weight in rows.select("user", "item", "weight").head(50).iter_rows():
        assert weight == pytest.approx(wanted[users[user], items[item]])
    view = train_view(dataset, make_split(dataset, "random_per_user", seed=0))
    assert view.weight is not None
    np.testing.assert_allclose(
        view.weight[:20],
        [wanted[users[u], items[i]] for u, i in zip(view.user[:20].tolist(), view.item[:20].tolist(), strict=True)],
        rtol=1e-6,
    )


def test_weights_reach_the_training(tmp_path: Path) -> None:
    """A run on weighted rows ends elsewhere than one on the same rows without."""
    plain = write_world(tmp_path / "plain")
    report = find_noise(plain.root)
    write_weights(report, tmp_path / "clean.parquet")
    report.rows.select("user_id", "item_id").write_csv(tmp_path / "log.csv")
    values = []
    for weights in (None, str(tmp_path / "clean.parquet")):
        out = tmp_path / f"set {weights is None}"
        import_dataset(tmp_path / "log.csv", out, ImportConfig(weights=weights))
        values.append(run(run_config(out), out=tmp_path / f"run {weights is None}").result["training"]["best_value"])
    assert values[0] != values[1]
