"""The number that selects is checked before anything is read."""

import subprocess
import sys

import pytest

from sensorium.core.errors import ConfigError, TrainingError
from sensorium.evaluation.selection import Selection, check_evaluation

KS, METRICS = [5, 10], ["recall", "ndcg", "gini"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("ndgc@10", "'ndgc' is not a metric; did you mean 'ndcg'?"),
        ("recall@20", r"k = 20 is not among evaluation.ks \[5, 10\]"),
        ("auc", "'auc' measures predicted labels and this run ranks items"),
        ("auc@10", "'auc' measures predicted labels and this run ranks items"),
        ("mrr@10", "'mrr' is not among evaluation.metrics"),
        ("recall", "'recall' needs a list length, as in recall@10"),
        ("recall@x", "needs a list length"),
        ("Recall@10", "did you mean 'recall'?"),
    ],
)
def test_a_metric_that_cannot_be_had(text: str, reason: str) -> None:
    """CF-3: unknown metric, a k that is not computed, a measure of labels: each with the list of what can be chosen."""
    with pytest.raises(ConfigError, match=reason) as caught:
        Selection.parse(text, KS, METRICS)
    assert "can be chosen: recall@5, recall@10, ndcg@5, ndcg@10, gini@5, gini@10" in str(caught.value)
    assert str(caught.value).startswith("selection: ")


def test_what_can_be_had() -> None:
    assert Selection.parse("recall@10", KS, METRICS) == Selection("recall@10", True)
    assert Selection.parse("gini@5", KS, METRICS) == Selection("gini@5", False)
    assert Selection.parse("probe", KS, METRICS, extra={"probe": False}) == Selection("probe", False)


def test_strictly_better_only() -> None:
    up, down = Selection("a"), Selection("a", higher_is_better=False)
    assert up.better(0.5, None)
    assert up.better(0.5000000001, 0.5)
    assert not up.better(0.5, 0.5)
    assert down.better(0.4, 0.5)
    assert not down.better(0.6, 0.5)
    assert not up.better(float("nan"), None)
    assert up.better(0.1, float("nan"))


def test_its_value_is_taken_from_a_validation() -> None:
    assert Selection("recall@5").value({"recall@5": 0.25}) == 0.25
    with pytest.raises(TrainingError, match="no 'recall@5' to select by; it holds ndcg@5"):
        Selection("recall@5").value({"ndcg@5": 1.0})


@pytest.mark.parametrize(
    ("ks", "metrics", "reason"),
    [
        ([], ["recall"], "at least one k"),
        ([0], ["recall"], "0 is not a list length"),
        ([True], ["recall"], "True is not a list length"),
        ([5, 5], ["recall"], "holds one entry twice"),
        ([5], ["recall", "recall"], "holds one entry twice"),
        ([5], ["recal"], "did you mean 'recall'.*known: .*ndcg"),
        ([5], ["auc"], "measures predicted labels"),
    ],
)
def test_an_evaluation_that_cannot_be_made(ks: list[int], metrics: list[str], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        check_evaluation(ks, metrics)


def test_checking_does_not_import_torch() -> None:
    code = (
        "import sys; from sensorium.evaluation.selection import Selection; import sensorium.evaluation.bootstrap, "
        "sensorium.evaluation.lists; Selection.parse('recall@5', [5], ['recall']); assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
