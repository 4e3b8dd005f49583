"""The configuration of a run: wrong keys and numbers stop before any data are read."""

from pathlib import Path

import pytest

from sensorium.core.config import describe, dump
from sensorium.core.errors import ConfigError
from sensorium.core.registry import registered
from sensorium.experiments.config import RunConfig, read_config
from sensorium.experiments.run import run
from sensorium.recommenders.collaborative.bpr import BPR

NOWHERE = {"data": {"dataset": "/no/such/data"}, "model": "bpr"}


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"selection": "ndgc@20"}, ["ndgc", "did you mean 'ndcg'", "recall@5", "ndcg@50"]),
        ({"evaluation": {"ks": [5, 10]}}, ["k = 20", "evaluation.ks [5, 10]", "recall@10"]),
        ({"selection": "auc@20"}, ["auc", "ranks items", "recall@20"]),
        ({"evaluation": {"metrics": ["recall", "auc"]}}, ["evaluation.metrics", "'auc'", "ranks items"]),
        ({"selection": "map@20", "evaluation": {"metrics": ["recall"]}}, ["map", "evaluation.metrics", "add it"]),
        ({"constraint": {"metric": "recal@20", "at_least": 0.1}}, ["recal", "recall"]),
    ],
)
def test_a_number_that_cannot_be_had(changes: dict[str, object], parts: list[str], tmp_path: Path):
    """CF-3: an unknown metric, a k that is not computed, a measure of labels: with what can be chosen, before data are
    read.
    """
    with pytest.raises(ConfigError) as caught:
        run({**NOWHERE, **changes}, out=tmp_path / "run")
    assert all(part in str(caught.value) for part in parts), caught.value
    assert not (tmp_path / "run").exists()


def test_a_key_on_the_wrong_level(tmp_path: Path):
    """CF-1: the message holds the full path of the right key and the file."""
    file = tmp_path / "x.yaml"
    file.write_text("data: {dataset: nowhere}\nmodel: bpr\nks: [20]\n")
    with pytest.raises(ConfigError, match=rf"{file}: ks: unknown key; did you mean evaluation\.ks\?"):
        run(file)
    file.write_text("data: {dataset: nowhere}\nmodel: bpr\n")
    with pytest.raises(ConfigError, match=r"--set split=none: split: unknown key; did you mean data\.split\?"):
        run(file, overrides=["split=none"])


def test_another_kind_of_job(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"kind: 'recomend' is not a job; did you mean 'recommend'\?"):
        run({**NOWHERE, "kind": "recomend"})


def test_overrides_and_round_trip():
    config = read_config(NOWHERE, ["model.dim=16", "data.split=leave_last_out", "training.optimizer.lr=5e-3"])
    assert config.model.config.dim == 16
    assert config.data.split.config.min_len == 5
    assert config.training.optimizer.lr == 0.005
    again = read_config(dump(config))
    assert again == config
    assert again.key() == config.key()
    assert read_config(NOWHERE, ["seed=1"]).key() != read_config(NOWHERE).key()


def test_every_key_is_described():
    assert [row.path for row in describe(RunConfig) if not row.meaning] == []


def test_a_number_that_the_model_adds_can_select():
    class Probed(BPR):
        validation_numbers = {"probe": False}  # noqa: RUF012

    with registered("sensorium.recommenders", "probed", Probed):
        selection = read_config({**NOWHERE, "model": "probed", "selection": "probe"}).parsed_selection()
    assert (selection.name, selection.higher_is_better) == ("probe", False)
    with pytest.raises(ConfigError, match="probe"):
        read_config({**NOWHERE, "selection": "probe"})
