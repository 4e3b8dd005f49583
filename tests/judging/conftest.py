"""Fixtures of this room."""

from .videos import judging

__all__ = ["judging"]
