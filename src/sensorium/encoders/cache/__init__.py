"""The cache of hidden states: memory-mapped arrays with one row per item, that a changed input never meets.

features/<modality>-<encoder>-<key>/
    states.npy         float16 [I, K, D], memory-mapped; row = item id (`pooling: none`: [I, n_tok, D] of one layer)
    pooled.npy         float16 [I, P], the encoder's own vector; true value = stored x manifest.pooled_scale
    present.npy        bool [I]; false: the row is zero and never read as content
    scale.npy          float32 [K] (one for `pooling: none`); true state = stored x scale
    digest.npy         uint8 [I, 16], of raw content, preprocessing and weights; without content of the latter two
    notes.npy          uint8 [I], bits of `layout.NOTES`: what was truncated, partial, empty or rejected
    token_mask.npy     bool [I, n_tok], only for `pooling: none`
    manifest.json      what all of this is; `complete: true` says that it can be read
    rejected.parquet   item, item_id, field, path, reason, detail
    config.yaml, environment.json, timing.jsonl, result.json, lock    as of every run directory
while it is being written: done.npy, plan.json, rejected.jsonl; patch/ and shards/ hold the same for a part of the rows
"""
