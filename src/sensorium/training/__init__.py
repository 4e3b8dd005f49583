"""The one training loop: phases, schedules, early stopping, checkpoints that resume exactly. It knows no model's name.

`protocols.py` says what a model and its data provide, `loop.py` is the loop, `config.py` holds every key. Configs and
selection rules import without torch.
"""
