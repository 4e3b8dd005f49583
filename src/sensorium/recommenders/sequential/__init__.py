"""Recommenders that a history asks: a tower for the items, an encoder for the sequence, a loss."""
