"""Models that rank a catalogue: the protocol in `base.py`, and one file for each method."""
