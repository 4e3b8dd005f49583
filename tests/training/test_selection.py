"""Which state is the better one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.core.config import build
from sensorium.core.errors import ConfigError, TrainingError
from sensorium.evaluation.selection import Selection
from sensorium.training.selection import Constraint, improves

RECALL, LEAK = Selection("recall@20"), Selection("probe_auc", higher_is_better=False)
NEAR_BACKBONE = Constraint(metric="recall@20", at_least=0.95, times="backbone_recall@20")


def numbers(recall: float | None, leak: float | None = 0.5, backbone: float | None = 0.2) -> dict[str, float | None]:
    return {"recall@20": recall, "probe_auc": leak, "backbone_recall@20": backbone}


def test_strict_unrounded_and_the_earlier_of_equals_stays():
    assert improves(RECALL, None, numbers(0.1), None)
    assert improves(RECALL, None, numbers(0.30000000000000004), numbers(0.3))
    assert not improves(RECALL, None, numbers(0.3), numbers(0.3))
    assert improves(LEAK, None, numbers(0.1, leak=0.6), numbers(0.9, leak=0.7))


def test_what_is_no_number_never_wins():
    assert not improves(RECALL, None, numbers(None), None)
    assert not improves(RECALL, None, numbers(None), numbers(0.1))
    assert not improves(LEAK, NEAR_BACKBONE, numbers(0.2, leak=None), numbers(0.1))


def test_lowest_leak_among_those_near_the_backbone():
    met, missed, far = numbers(0.191, leak=0.7), numbers(0.189, leak=0.5), numbers(0.1, leak=0.5)
    assert improves(LEAK, NEAR_BACKBONE, met, missed)  # though it leaks more
    assert not improves(LEAK, NEAR_BACKBONE, missed, met)
    assert improves(LEAK, NEAR_BACKBONE, missed, far)  # nobody meets it yet: nearer is better
    assert improves(LEAK, NEAR_BACKBONE, numbers(0.19, leak=0.69), met)  # the bound itself meets it
    assert not improves(LEAK, NEAR_BACKBONE, numbers(0.5, leak=0.7), met)  # a tie: how far inside does not count


def test_upper_bound_and_a_bound_that_cannot_be_computed():
    low = Constraint(metric="probe_auc", at_most=0.6)
    assert improves(RECALL, low, numbers(0.1, leak=0.6), numbers(0.2, leak=0.61))
    assert improves(RECALL, low, numbers(0.1, leak=0.9), numbers(0.2, leak=None))
    assert improves(RECALL, low, numbers(0.2, leak=None), None)
    assert improves(LEAK, NEAR_BACKBONE, numbers(0.1), numbers(0.3, backbone=None))


SHARES = st.integers(0, 1000).map(lambda thousandths: thousandths / 1000)  # apart by more than a difference rounds off


@given(st.lists(st.tuples(SHARES, SHARES), min_size=1, max_size=12))
def test_the_winner_of_any_sequence_is_the_best_by_definition(pairs: list[tuple[float, float]]):
    constraint = Constraint(metric="recall@20", at_least=0.5)
    best = None
    for recall, leak in pairs:
        if improves(LEAK, constraint, numbers(recall, leak), best):
            best = numbers(recall, leak)
    assert best is not None
    meeting = [pair for pair in pairs if pair[0] >= 0.5]
    if meeting:
        assert best["probe_auc"] == min(leak for _, leak in meeting)
    else:
        assert best["recall@20"] == max(recall for recall, _ in pairs)


def test_unknown_numbers_and_impossible_bounds():
    with pytest.raises(TrainingError, match="no 'auc' to select by; it holds backbone_recall@20, probe_auc, recall@20"):
        improves(Selection("auc"), None, numbers(0.1), None)
    with pytest.raises(TrainingError, match="no 'cos'"):
        improves(RECALL, Constraint(metric="cos", at_least=0.9), numbers(0.1), None)
    for bounds in ({}, {"at_least": 0.1, "at_most": 0.2}):
        with pytest.raises(ConfigError, match="one bound: give at_least or at_most"):
            build(Constraint, {"metric": "recall@20", **bounds}, source="x.yaml", prefix="constraint")
