"""Judges: whoever answers. They register at the entry-point group `sensorium.judges`."""
