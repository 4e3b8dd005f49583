"""Knowledge tracing: from the past answers of a learner to the probability that the next one will be right.

One row is one question answered once, its concepts are a set. `base.py` has the contract of a model, `data/` the tables
and their readers, `models/` one file per model, `evaluation/` what is measured, `job.py` the run of kind `trace`.
"""
