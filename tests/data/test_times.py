"""Times from numbers of four units, from dates, and from ISO 8601 text."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium.core.errors import DataError
from sensorium.data.times import TimeUnit, look_at_times, read_times

MOMENTS = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1))


def read(values: list[Any], unit: TimeUnit = "auto", dtype: Any = None) -> tuple[list[int | None], str]:
    frame = pl.LazyFrame({"when": pl.Series(values, dtype=dtype)})
    kind = frame.collect_schema()["when"]
    looks = look_at_times("when", kind)
    seen = frame.select(**looks).collect().row(0, named=True) if looks else {}
    expression, said = read_times("when", kind, seen, unit, file="log.csv")
    return frame.select(expression).collect(engine="streaming").to_series().to_list(), said


@pytest.mark.parametrize(
    ("factor", "said"), [(1, "seconds"), (10**3, "milliseconds"), (10**6, "microseconds"), (10**9, "nanoseconds")]
)
@pytest.mark.parametrize("as_text", [False, True])
def test_the_unit_of_numbers_is_found_and_said(factor: int, said: str, as_text: bool) -> None:
    seconds = [1_000_000_000, 1_500_000_000, 1_600_000_000]
    values = [str(value * factor) if as_text else value * factor for value in seconds]
    assert read(values) == ([value * 1000 for value in seconds], said)


def test_a_named_unit_wins() -> None:
    assert read([5, 7], "ms") == ([5, 7], "milliseconds")


@given(MOMENTS, st.integers(-14 * 60, 14 * 60), st.sampled_from(["T", " "]))
def test_text_is_read_as_python_reads_it(moment: datetime, minutes: int, between: str) -> None:
    moment = moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    zoned = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    expected = [round(value.timestamp() * 1000) for value in (zoned, moment.replace(tzinfo=UTC))]
    text = [value.isoformat(sep=between, timespec="milliseconds") for value in (zoned, moment)]
    assert read(text) == (expected, "ISO 8601 dates")


@given(MOMENTS)
def test_text_of_days_minutes_and_utc(moment: datetime) -> None:
    day, minute = moment.strftime("%Y-%m-%d"), moment.strftime("%Y-%m-%d %H:%M")
    values, _ = read([day, minute, minute + "Z", f"{minute}:00 UTC", day.replace("-", "/")])
    start = round(datetime.fromisoformat(day + "T00:00:00+00:00").timestamp() * 1000)
    then = round(datetime.fromisoformat(minute + ":00+00:00").timestamp() * 1000)
    assert values == [start, then, then, then, start]


def test_what_cannot_be_read_is_missing() -> None:
    good = 1_000_000_000_000
    assert read(["2001-09-09T01:46:40Z", "2021-02-30", "2021-13-01", "2021-01-01 25:00", "soon", " ", None])[0] == [
        good, None, None, None, None, None, None
    ]  # fmt: skip
    assert read(["1000000000", "inf", "nan", "1e400", "x", "", None])[0] == [good, None, None, None, None, None, None]


def test_dates_and_moments_of_parquet() -> None:
    expected = 1_577_836_800_000
    assert read([datetime(2020, 1, 1).date(), None])[0] == [expected, None]
    assert read([datetime(2020, 1, 1)], dtype=pl.Datetime("ns"))[0] == [expected]
    berlin = pl.Series([datetime(2020, 1, 1)]).dt.replace_time_zone("Europe/Berlin")
    assert read(berlin.to_list(), dtype=pl.Datetime("us", "Europe/Berlin"))[0] == [expected - 3_600_000]


@pytest.mark.parametrize("values", [["never", "soon"], ["", ""], [None, None]])
def test_a_column_without_a_time_is_named(values: list[Any]) -> None:
    with pytest.raises(DataError, match=r"log\.csv: no value of the time column 'when' can be read.*or to null"):
        read(values, dtype=pl.String)
