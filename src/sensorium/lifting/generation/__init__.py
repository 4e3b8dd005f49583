"""One photo to a 3D asset, in two stages (Tang et al., DreamGaussian, ICLR 2024; ContrastiveGaussian, ICME 2025).

config.py     every key, and what the presets fill in
objective.py  first stage: the photo, guidance from other sides, the contrastive term
texturing.py  second stage: a mesh, and its texture refined
making.py     both, in a run directory or without one
given.py      photos that are given as arrays
measures.py   what can be measured, with and without the truth
renders.py    a lift against pictures of its object from known cameras
similarity.py how much it looks like its photo, by encoders
weights.py    whose weights a lift was made with
job.py        the job of kind "lift"; report.py its page
comparing.py  with and without the contrastive term, on the same seeds
"""
