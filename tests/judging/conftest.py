"""Fixtures of this room."""

from pathlib import Path

import pytest

from sensorium.core.files import write_text
from sensorium.judging import report


@pytest.fixture
def quick_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs end with a page of two words: the real one draws, and decodes frames, for seconds."""
    monkeypatch.setattr(report, "write_report", lambda path: write_text(Path(path) / "report.html", "a page"))
