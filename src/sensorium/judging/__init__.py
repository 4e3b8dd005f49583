"""Judging generated video as people would: dimensions, judges, protocols, and what their scores are worth.

The way of a judgement: a manifest or a folder gives cells (`manifest.py`), a dimension says what is asked of them
(`dimensions/`), frames are sampled (`sampling.py`), a protocol turns them into requests (`protocols/`), a judge answers
(`judges/`), the answer is read (`parsing.py`) and kept under its key (`cache.py`), and a record says what came out
(`records.py`).

Source: Video-Bench (CVPR 2025, arXiv 2504.04907, Apache-2.0). The wording of all rubrics is this project's own.
"""
