import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.core.errors import RunError
from sensorium.judging.accounting import Ledger, Price, picture_tokens, text_tokens
from sensorium.judging.judges.base import Usage
from sensorium.judging.judges.pace import Bucket, Clock


def test_tokens_of_pictures_are_those_that_openai_publishes() -> None:
    assert picture_tokens(1024, 1024) == 765
    assert picture_tokens(2048, 4096) == 1105
    assert picture_tokens(512, 512) == 255
    assert picture_tokens(4096, 8192, low_detail=True) == 85
    assert text_tokens("x" * 9) == 3


def test_cached_tokens_have_their_own_price() -> None:
    assert Price(prompt=2, completion=10, cached=1).of(1_000_000, 100_000, 400_000) == pytest.approx(0.6 * 2 + 0.4 + 1)
    assert Price(prompt=2).of(1_000_000, 0, 400_000) == pytest.approx(2)


@given(st.lists(st.tuples(st.floats(0.001, 1), st.floats(0, 1)), max_size=40), st.floats(0.01, 5))
def test_requests_side_by_side_never_cross_the_limit(requests: list[tuple[float, float]], limit: float) -> None:
    """Each costs at most what it reserved; some are refused, none is paid for twice."""
    ledger, reserved = Ledger(max_cost=limit), []
    for most, share in requests:
        try:
            reserved.append((ledger.reserve(most), most * share))
        except RunError:
            continue
    for held, cost in reserved:
        ledger.settle(held, Usage(1, cost=cost))
    assert ledger.spent.cost <= limit + 1e-9
    assert ledger.spent.calls == len(reserved)


def test_an_endpoint_that_counts_more_tokens_makes_later_reservations_larger() -> None:
    ledger = Ledger(max_cost=10)
    ledger.settle(ledger.reserve(1.0), Usage(1, cost=3.0))
    assert ledger.reserve(1.0) == pytest.approx(3.0)
    with pytest.raises(RunError, match=r"3\.0000 is spent"):
        ledger.reserve(2.0)


@given(st.floats(1, 600), st.lists(st.floats(0.1, 2000), min_size=1, max_size=30))
def test_a_bucket_never_gives_more_than_its_rate(per_minute: float, amounts: list[float]) -> None:
    at = 0.0

    async def sleep(seconds: float) -> None:
        nonlocal at
        at += seconds

    async def take() -> None:
        bucket = Bucket(per_minute, Clock(lambda: at, lambda: at, sleep))
        taken = 0.0
        for amount in amounts:
            await bucket.take(amount)
            # all but the last were there: a full bucket at the start, and what has run in since
            assert taken <= per_minute + at * per_minute / 60 + 1e-6
            taken += amount

    asyncio.run(take())
