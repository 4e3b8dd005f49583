import numpy as np

import sensorium as sn

data = sn.open_dataset("demo")
vectors = np.random.default_rng(0).normal(size=(data.n_items, 16))
data = sn.add_features(data, "mine", vectors, provenance={"encoder": "my-encoder-v3"})
x, present = data.features("mine")
