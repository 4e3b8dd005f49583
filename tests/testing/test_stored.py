from __future__ import annotations

from pathlib import Path

import numpy as np

from sensorium.testing import tiny_data
from sensorium.testing.stored import other_held_out_rows, store, stored_view


def test_the_stored_world_gives_the_view_in_memory(tmp_path: Path) -> None:
    data = tiny_data()
    view = stored_view(data, tmp_path / "tiny")
    assert np.array_equal(view.user, data.view.user)
    assert np.array_equal(view.item, data.view.item)
    assert (view.n_users, view.n_items) == (data.view.n_users, data.view.n_items)
    for name, (x, present) in data.view.features.items():
        assert np.array_equal(view.features[name].x, x)
        assert np.array_equal(view.features[name].present, present)


def test_other_rows_are_known_items_that_the_user_has_nowhere(tmp_path: Path) -> None:
    data = tiny_data()
    other = other_held_out_rows(data)
    assert np.array_equal(other.test_user, data.test_user)
    assert (other.test_item != data.test_item).all()
    assert (data.view.item_count[other.test_item] > 0).all()
    keys = [rows[0] * 31 + rows[1] for rows in ((data.view.user, data.view.item), (other.test_user, other.test_item))]
    assert not np.intersect1d(*keys).size
    assert len(np.unique(keys[1])) == len(keys[1])
    frames = [store(world, tmp_path / name).interactions().collect() for name, world in (("a", data), ("b", other))]
    train = [frame.filter(frame["split"] == 0) for frame in frames]
    assert train[0].equals(train[1])
    assert not frames[0].equals(frames[1])
