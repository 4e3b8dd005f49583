"""Loss terms: means, and the first that is not finite, also when it is read late."""

import math

import pytest
import torch

from sensorium.training.monitor import BadTerm, LossMonitor, first_non_finite


@pytest.mark.parametrize("every", [1, 50])
def test_mean_by_phase_over_the_steps_in_which_a_term_occurred(every: int):
    monitor = LossMonitor(every)
    for step in range(1, 9):
        monitor.add("a", step, ("rank",), torch.tensor([float(step)], requires_grad=True))
        if step % 4 == 0:
            monitor.add("b", step // 4, ("rank", "transport"), torch.tensor([1.0, step / 4]))
    assert monitor.read() is None
    assert monitor.means() == {"a": {"rank": 4.5}, "b": {"rank": 1.0, "transport": 1.5}}
    assert monitor.latest == 3.0


def test_the_first_bad_term_is_named_exactly_however_late_it_is_read():
    early, late = LossMonitor(1), LossMonitor(50)
    values = [torch.tensor([1.0, 2.0]) for _ in range(60)]
    values[30][1], values[31][0], values[40][0] = math.inf, math.nan, math.nan
    found = {}
    for name, monitor in (("early", early), ("late", late)):
        for step, value in enumerate(values, start=1):
            bad = monitor.add("a", step, ("x", "y"), value)
            if bad:
                found[name] = bad, step
                break
    assert found == {"early": (BadTerm("a", 31, "y", math.inf), 31), "late": (BadTerm("a", 31, "y", math.inf), 50)}


def test_first_parameter_that_is_not_finite():
    good, bad = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.tensor([1.0, -math.inf]))
    assert first_non_finite([]) is None
    assert first_non_finite([("good", good)]) is None
    assert first_non_finite([("good", good), ("bad", bad), ("worse", bad)]) == "bad"
