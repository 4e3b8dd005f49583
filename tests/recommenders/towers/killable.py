"""The program of `tests/experiments/killable.py`, with what encoders need imported once, before its processes fork."""

import runpy
from importlib import import_module
from pathlib import Path

for name in ("transformers.models.bert.modeling_bert", "sensorium.recommenders.sequential.sasrec"):
    import_module(name)
runpy.run_path(str(Path(__file__).parents[2] / "experiments" / "killable.py"), run_name="__main__")
