"""Every row counts once, with enough history; batches are bounded, of like length, and the same whenever asked."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium.data.batches import Step
from sensorium.testing.tracers import tiny_answers
from sensorium.tracing.data.windows import (
    WindowBatches,
    evaluation_batches,
    evaluation_windows,
    make_batch,
    training_windows,
    whole_histories,
)


@settings(max_examples=60, deadline=None)
@given(lengths=st.lists(st.integers(2, 90), min_size=1, max_size=6), size=st.integers(3, 20), data=st.data())
def test_every_row_but_the_first_counts_once(lengths: list[int], size: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, size))
    rows = np.array(lengths)
    windows = evaluation_windows(rows, np.arange(len(rows)), size, stride)
    seen: list[tuple[int, int]] = []
    for student, start, length, begin in zip(
        windows.student, windows.start, windows.length, windows.score_from, strict=True
    ):
        assert start >= 0
        assert length <= size
        for place in range(begin, length):
            t = start + place
            assert place >= min(t, size - stride)  # history inside the window
            seen.append((int(student), int(t)))
    assert sorted(seen) == [(s, t) for s, n in enumerate(lengths) for t in range(1, n)]


def test_training_windows_are_chunks_without_short_tails() -> None:
    windows = training_windows(np.array([10, 12, 2, 5]), np.array([0, 1, 2, 3]), 5)
    found = list(zip(windows.student.tolist(), windows.start.tolist(), windows.length.tolist(), strict=True))
    assert found == [(0, 0, 5), (0, 5, 5), (1, 0, 5), (1, 5, 5), (2, 0, 2), (3, 0, 5)]  # 12 = 5 + 5 + a tail of 2


def test_batches_hold_all_windows_once_and_repeat() -> None:
    answers = tiny_answers()
    windows = training_windows(answers.lengths, np.arange(40), 10)
    for size, positions in ((8, 1), (None, 60)):
        source = WindowBatches(answers, windows, size=size, positions=positions)
        for epoch in (0, 1):
            met = []
            for index in range(len(source)):
                batch = source.batch(Step(3, "answers", epoch, index))
                assert len(batch.question) > 0
                met += list(zip(batch.student.tolist(), batch.position[:, 0].tolist(), strict=True))
                if positions > 1:
                    assert batch.question.numel() <= 2 * positions
            assert sorted(met) == sorted(zip(windows.student.tolist(), windows.start.tolist(), strict=True))
        again = WindowBatches(answers, windows, size=size, positions=positions).batch(Step(3, "answers", 1, 2))
        assert torch.equal(again.question, source.batch(Step(3, "answers", 1, 2)).question)
        assert not torch.equal(again.student, source.batch(Step(4, "answers", 1, 2)).student)


def test_slices_of_processes_are_the_whole_batch() -> None:
    answers = tiny_answers()
    source = WindowBatches(answers, training_windows(answers.lengths, np.arange(40), 10), size=8)
    whole = source.batch(Step(0, "answers", 0, 1))
    parts = [source.batch(Step(0, "answers", 0, 1, rank, 3)) for rank in range(3)]
    assert torch.equal(torch.cat([part.student for part in parts]), whole.student)
    assert sum(len(part) for part in parts) == len(whole)


def test_evaluation_batches_keep_to_the_budget() -> None:
    answers = tiny_answers()
    windows = evaluation_windows(answers.lengths, np.arange(40), 12, 5)
    batches = list(evaluation_batches(answers, windows, budget=100))
    assert all(batch.question.numel() <= 100 for batch in batches)
    assert sum(len(batch.question) for batch in batches) == len(windows)
    assert sum(len(batch) for batch in batches) == windows.scored == int((answers.lengths - 1).sum())


def test_a_batch_holds_the_rows_and_pads_with_its_own_question() -> None:
    answers = tiny_answers()
    batch = make_batch(answers, whole_histories(answers.lengths, np.array([2, 5])))
    for place, student in enumerate((2, 5)):
        n = int(answers.lengths[student])
        begin = answers.offsets[student]
        assert batch.question[place, :n].tolist() == answers.question[begin : begin + n].tolist()
        assert batch.response[place, :n].tolist() == answers.response[begin : begin + n].tolist()
        assert (batch.question[place, n:] == answers.n_questions).all()
        assert batch.score_mask[place].tolist() == [0 < t < n for t in range(batch.question.shape[1])]


def test_rows_that_count_do_not_depend_on_padding() -> None:
    """Two students with 3 and 200 answers: n is stated, 2 + 199."""
    lengths = np.array([3, 200])
    assert evaluation_windows(lengths, np.array([0, 1]), 200, 100).scored == 201
    assert evaluation_windows(lengths, np.array([0, 1]), 50, 25).scored == 201
