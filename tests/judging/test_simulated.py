"""Protocols on a simulated judge: the error model is exactly its description, through the real protocols."""

import hashlib
import math
from statistics import NormalDist

import numpy as np
import pytest

from sensorium.evaluation.agreement import kendall_rows
from sensorium.judging.sampling import encode
from sensorium.judging.simulated import MODELS, World, clip, facts_of, normal, number_of, simulate, uniform
from sensorium.judging.trials import SEEDS, simulated_rows


def test_numbers_are_functions_of_their_names() -> None:
    bits = int(hashlib.sha256(b"3|look1|7|2|1|0").hexdigest(), 16) >> (256 - 53)
    assert uniform(3, "look1", 7, 2, 1, "0") == (bits + 0.5) / 2**53
    assert normal(0, "q", 1, 2, 0) == pytest.approx(NormalDist().inv_cdf(uniform(0, "q", 1, 2, 0)), abs=1e-9)
    draws = np.array([uniform(0, "n", prompt, 1, 0) for prompt in range(2000)])
    assert abs(draws.mean() - 0.5) < 0.03
    assert abs(draws.var() - 1 / 12) < 0.006


@pytest.mark.parametrize("number", [0, 1, 839, 0b1010101010101010, 65535])
def test_a_frame_spells_its_number(number: int) -> None:
    frame = clip(number)
    assert frame.shape == (32, 32, 3)
    assert number_of(encode(frame, 90)) == number


def test_the_shift_of_a_call_is_shared_in_a_joint_call_alone() -> None:
    """7.14 (a): latents are q + n + s, with s of the call."""
    world = World("shift", prompts=2)
    joint, plain = simulate(world, "few-shot-joint"), simulate(world, "direct")
    assert (joint.calls, plain.calls) == (4, 4 * MODELS)
    for row, (prompt, sample) in enumerate(world.groups):
        for column in range(MODELS):
            name = (prompt, column + 1, sample)
            base = 3 + normal(0, "q", *name) + 0.5 * normal(0, "n", *name)
            assert joint.latents[row, column] == pytest.approx(base + normal(0, "s", prompt, "*", sample, "joint"))
            assert plain.latents[row, column] == pytest.approx(base + normal(0, "s", *name, "direct"))
            rounded = min(5, max(1, math.floor(joint.latents[row, column] + 0.5)))
            assert joint.scores[row, column] == rounded


def test_without_a_shift_the_protocols_agree() -> None:
    """7.14 (a): σ = 0, seed 0: all scores equal."""
    world = World("shift", sigma=0.0, prompts=8)
    assert (simulate(world, "direct").scores == simulate(world, "few-shot-joint").scores).all()


def test_what_the_description_lacks_is_asked_once_and_nothing_else() -> None:
    """7.14 (b): each fact that D1 lacks is asked once, no other is."""
    world = World("missed", prompts=5)
    found, plain = simulate(world, "chain-of-query"), simulate(world, "direct")
    for row, (prompt, sample) in enumerate(world.groups):
        for column in range(MODELS):
            seen = [world.sees("look1", prompt, column + 1, sample, fact) for fact in range(4)]
            lacking = [name for name, there in zip(facts_of(prompt), seen, strict=True) if not there]
            assert found.questions[row][column] == [f"Is there {name}?" for name in lacking]
            again = [world.sees("look2", prompt, column + 1, sample, fact) for fact in range(4)]
            assert plain.scores[row, column] == 1 + sum(seen)
            assert found.scores[row, column] == 1 + sum(a or b for a, b in zip(seen, again, strict=True))
    assert (found.scores <= world.truth).all()


def test_answers_that_nobody_sees_buy_nothing() -> None:
    """7.14 (b): the released behaviour gives the scores of direct; without misses both are the truth."""
    world = World("missed", prompts=5)
    unseen = simulate(world, "chain-of-query", judge_sees_answers=False)
    assert (unseen.scores == simulate(world, "direct").scores).all()
    perfect = World("missed", miss=0.0, prompts=5)
    for protocol in ("direct", "chain-of-query"):
        assert (simulate(perfect, protocol).scores == perfect.truth).all()  # type: ignore[arg-type]


def test_seeds_and_settings_have_names_of_their_own() -> None:
    """Else the store would answer for another seed."""
    worlds = [World("missed"), World("missed", 1), World("missed", miss=0.0), World("both"), World("shift", sigma=0.0)]
    assert len({world.id for world in worlds}) == len(worlds)
    assert (World("missed", 1, prompts=3).truth != World("missed", prompts=3).truth).any()


def test_rows_compare_on_the_same_groups() -> None:
    rows = simulated_rows(seeds=[0], prompts=3)
    assert [row["trial"] for row in rows] == ["shift", "missed", "both"]
    assert rows[0]["groups"] == 6
    assert rows[1]["scores"]["mean_error"][1] <= rows[1]["scores"]["mean_error"][0]
    gap = rows[0]["latents"]["tau_difference"][0]
    assert gap == pytest.approx(rows[0]["latents"]["tau"][1][0] - rows[0]["latents"]["tau"][0][0], abs=2e-4)


@pytest.mark.slow
def test_closed_forms() -> None:
    """7.14, correctness: tau of latents is (2/π) atan(1/√(.25+σ²)) and (2/π) atan 2; errors are 2.4 p and 2.4 p²; the
    seed-0 equalities at full size; joint and chain-of-query lie above direct."""
    taus = {"direct": [], "few-shot-joint": []}  # type: ignore[var-annotated]
    for seed in SEEDS:
        world = World("shift", seed)
        for protocol, values in taus.items():
            values.append(kendall_rows(world.truth, simulate(world, protocol).latents).mean())  # type: ignore[arg-type]
    assert np.mean(taus["direct"]) == pytest.approx(2 / math.pi * math.atan(1 / math.sqrt(1.25)), abs=0.045)
    assert np.mean(taus["few-shot-joint"]) == pytest.approx(2 / math.pi * math.atan(2), abs=0.035)
    level = World("shift", sigma=0.0)
    assert (simulate(level, "direct").scores == simulate(level, "few-shot-joint").scores).all()
    errors = {"direct": [], "chain-of-query": []}  # type: ignore[var-annotated]
    for seed in SEEDS:
        world = World("missed", seed)
        for protocol, values in errors.items():
            values.append(np.abs(simulate(world, protocol).scores - world.truth).mean())  # type: ignore[arg-type]
    assert np.mean(errors["direct"]) == pytest.approx(0.72, abs=0.05)
    assert np.mean(errors["chain-of-query"]) == pytest.approx(0.216, abs=0.03)
    world = World("missed")
    unseen = simulate(world, "chain-of-query", judge_sees_answers=False)
    assert (unseen.scores == simulate(world, "direct").scores).all()
    perfect = World("missed", miss=0.0)
    assert (simulate(perfect, "chain-of-query").scores == perfect.truth).all()
    assert (simulate(perfect, "direct").scores == perfect.truth).all()
