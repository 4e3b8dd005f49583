"""Serving: a run answers by external ids.

`recommend.recommend` for users or a history, `recommend.score` for given items, `export.recommend_all` for everybody.
All roads lead through the ranking of `sensorium.evaluation`: a user gets the very list that was evaluated when the same
items are masked, and a score is the same number on every road.
"""
