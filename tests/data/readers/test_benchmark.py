"""The folders baby, lfm2k and tiktok: a log with x_label, and matrices whose rows are item ids."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from sensorium.core.errors import DataError
from sensorium.data.importing import import_dataset

from ..sources import config, write


def tiktok(
    root: Path, *, image: int = 5, audio: int = 5, label: str = "0", header: str = "userID\titemID\tx_label"
) -> Path:
    rows = "".join(f"{user}\t{item}\t{(user + item) % 3}\n" for user in range(8) for item in range(4))
    write(root / "tiktok.inter", f"{header}\n{rows}9\t0\t{label}\n")
    x = np.arange(1, 1 + 2 * 20, dtype=np.float16).reshape(20, 2)
    np.save(root / "image_feat.npy", x[:image])
    np.save(root / "audio_feat.npy", -x[:audio])
    return root


def test_rows_of_a_matrix_are_item_ids(tmp_path: Path) -> None:
    data = import_dataset(tiktok(tmp_path / "tiktok"), tmp_path / "out", config(reader="tiktok"))
    assert data.item_ids().to_list() == ["0", "1", "2", "3", "4"]  # the fifth has no row, and stays
    x, present = data.features("audio")
    assert x.dtype == np.float32
    assert x[:, 0].tolist() == [-1, -3, -5, -7, -9]
    assert present.all()
    rows = data.interactions().collect()
    assert rows.schema["split"] == pl.Int8
    assert rows["split"].to_list()[:4] == [0, 1, 2, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": "7"}, r"tiktok\.inter row 34: x_label is 7, and must be 0 \(train\)"),
        ({"label": ""}, r"row 34: x_label is None"),
        ({"header": "userID\titemID\tx"}, "there is no column x_label"),
        ({"header": "user\titemID\tx_label"}, "there is no column 'userID' for user_id"),
        ({"audio": 6}, r"image_feat\.npy has 5 rows"),
        ({"image": 3, "audio": 3}, r"image_feat\.npy has 3 rows and the largest item id is 3"),
    ],
)
def test_folders_that_do_not_fit_together(tmp_path: Path, change: dict[str, object], message: str) -> None:
    folder = tiktok(tmp_path / "tiktok", **change)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=message):
        import_dataset(folder, tmp_path / "out", config(reader="tiktok"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("file", ["tiktok.inter", "audio_feat.npy"])
def test_a_missing_file_is_named(tmp_path: Path, file: str) -> None:
    folder = tiktok(tmp_path / "tiktok")
    (folder / file).unlink()
    with pytest.raises(DataError, match=file):
        import_dataset(folder, tmp_path / "out", config(reader="tiktok"))


def test_matrices_of_any_width_are_float32(shared_data: Path, tmp_path: Path) -> None:
    """lfm2k holds float32 and float64, tiktok float16."""
    for name in ("lfm2k", "tiktok"):
        data = import_dataset(shared_data / name, tmp_path / name, config(reader=name))
        split = data.interactions().collect()["split"]
        expected = {"lfm2k": [44_327, 4_799, 7_219], "tiktok": [59_541, 3_051, 6_130]}[name]
        assert [int((split == label).sum()) for label in (0, 1, 2)] == expected
        for feature in data.feature_names:
            x, present = data.features(feature)
            assert x.dtype == np.float32
            assert np.isfinite(x).all()
            assert present.all()
