import numpy as np

from sensorium.experiments.run import run

pixels = np.zeros((64, 64, 4), dtype=np.uint8)
pixels[12:52, 20:44] = (200, 80, 60, 255)  # red, green, blue, coverage
small = {"sizes": {"optimisation": {"iterations": 10}}, "texture": {"steps": 1}, "output": {"turntable": "none"}}
done = run({"kind": "lift", "photo": pixels, "preset": "test", "guidance": "none", **small}, out="runs/box")
print(done.result["mesh"]["watertight"])
