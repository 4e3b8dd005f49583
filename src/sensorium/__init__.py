"""Sensorium: from raw item content to recommendations you can train, trust and serve."""

__version__ = "0.1.0"
