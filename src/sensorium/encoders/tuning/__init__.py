"""Encoders that are trained end to end: what of them trains, towers over items, what that costs.

parts.py      blocks, projections and norms of any encoder, found by looking at it
tuning.py     frozen, top_k, houlsby, lora, bitfit, full: which parameters train
tower.py      Tower: distinct items of a batch, each encoded once
boundary.py   the frozen lower blocks computed once: training from their cached output
cost.py       trainable parameters, peak memory, seconds per step
"""
