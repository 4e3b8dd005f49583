"""The demo catalogue: a generated shop with a planted truth, free of licences and the same from the same seed.

world.py          the hidden state: topics, styles, tastes, popularity, arrival
texts.py          titles and descriptions: they show the topic        (words.py: the vocabulary)
covers.py         pictures: they show the style
sounds.py         sounds, on request: they show the rhythm, and of the style the timbre
clips.py          clips with a sound track, on request: they show the formation, and of the topic the motion
contents.py       these four as columns and files       (breaking.py: damaged files, on request)
interactions.py   rows: taste times popularity, planted noise, drift in time
generate.py       all of it, written as a data set with its planted truth beside it
"""

from sensorium.data.demo.config import DemoConfig
from sensorium.data.demo.generate import generate_demo
from sensorium.data.demo.truth import PlantedTruth, read_truth

__all__ = ["DemoConfig", "PlantedTruth", "generate_demo", "read_truth"]
