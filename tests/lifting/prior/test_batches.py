"""Batches are drawn from seed and step alone, and times as late as asked."""

import torch

from sensorium.lifting.prior.batches import EARLIEST, LATE, LATEST, Batch, draw_batch
from sensorium.lifting.prior.pool import Pool


def batch(late: float | None = None, *, step: int = 0) -> Batch:
    """256 targets of a pool of noise."""
    draws = torch.Generator().manual_seed(0)
    rgba = torch.randint(256, (6, 3, 8, 8, 4), generator=draws, dtype=torch.uint8)
    poses = 90 * torch.rand((6, 3, 2), generator=draws)
    pool = Pool(rgba, poses, torch.arange(6).numpy())
    given = {} if late is None else {"late": late}
    return draw_batch(pool, side=8, references=64, targets=4, withheld=0.1, unposed=0.2, same=0.05, seed=0, step=step,
                      **given)  # fmt: skip


def test_without_late_times_all_draws_stay() -> None:
    """Numbers of a training that was begun before there was the key: kept here, since nothing else would notice."""
    plain, none = batch(), batch(0.0)
    assert all(torch.equal(value, getattr(none, name)) for name, value in vars(plain).items())
    assert EARLIEST < plain.t.min() < 0.05
    assert 0.95 < plain.t.max() < LATEST
    torch.testing.assert_close(plain.t[:3], torch.tensor([0.0897624, 0.1397693, 0.657602]), rtol=0, atol=1e-6)


def test_late_times_take_the_place_of_their_share() -> None:
    plain, half, every = batch(), batch(0.5), batch(1.0)
    moved = half.t != plain.t
    assert 0.4 < moved.float().mean() < 0.6
    for found in (half.t[moved], every.t):
        assert found.min() >= LATE[0]
        assert found.max() <= LATE[1]
        assert found.std() > 0.04
    assert not torch.equal(batch(1.0, step=1).t, every.t)
    for name in ("references", "elevations", "azimuths", "known", "posed"):
        assert torch.equal(getattr(plain, name), getattr(every, name)), name
    assert torch.equal(half.noisy[~moved], plain.noisy[~moved])
    assert not torch.equal(half.noisy[moved], plain.noisy[moved])
