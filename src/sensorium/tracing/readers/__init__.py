"""Readers of the public logs of learners: each translates one format into the shape of `readers/base.py`."""
