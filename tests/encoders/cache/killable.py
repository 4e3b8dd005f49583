"""A process that encodes, to be killed: `python killable.py ROOT ENCODER [WORKERS]`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tiny_encoder

from sensorium.core.config import Component
from sensorium.core.registry import registered
from sensorium.data.dataset import Dataset
from sensorium.encoders.cache.job import Options
from sensorium.encoders.encode import encode

if __name__ == "__main__":
    group = "sensorium.encoders"
    with registered(group, "tiny-text", tiny_encoder.TinyText):
        chosen = Component(group, "tiny-text", tiny_encoder.TinyText.Config())
        encode(Dataset.open(sys.argv[1]), chosen, options=Options(workers=int(sys.argv[2])))
