"""Encoders whose weights come in packages of the index: for offline machines, the demo and tests."""
