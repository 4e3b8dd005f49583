from pathlib import Path
from tempfile import mkdtemp

import numpy as np
from PIL import Image, ImageDraw

from sensorium.experiments.run import run

folder = Path(mkdtemp())
picture = Image.new("RGBA", (96, 96))  # a cup on nothing, as a cut-out photo has it
draw = ImageDraw.Draw(picture)
draw.rectangle((30, 24, 62, 78), fill=(200, 80, 60, 255))
draw.ellipse((56, 36, 80, 64), outline=(200, 80, 60, 255), width=6)
picture.save(folder / "cup.png")

if __name__ == "__main__":  # pictures are decoded in processes of their own
    small = {"sizes": {"optimisation": {"iterations": 20}}, "texture": {"steps": 2}, "output": {"turntable": "none"}}
    photo = {"kind": "lift", "photo": str(folder / "cup.png"), "preset": "test", "guidance": "none"}
    done = run({**photo, **small}, out=folder / "cup")
    view = done.result["reference_view"]["mesh"]
    print(f"{done.result['mesh']['faces']} faces, {view['psnr']:.1f} dB at the photo's view")
    print(np.asarray(Image.open(done.path / "views" / "090.png")).shape)  # the mesh from the right
