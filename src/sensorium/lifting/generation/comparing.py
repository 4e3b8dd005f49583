"""The method with and without its contrastive term, on the same photo and the same seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from sensorium.core.files import write_json
from sensorium.core.pages import picture, write_page
from sensorium.lifting.contrastive import UNIT
from sensorium.lifting.contrastive.term import PYRAMID
from sensorium.lifting.generation.config import LiftConfig, laid_over
from sensorium.lifting.generation.similarity import COLUMNS as SIMILARITIES

ARMS = ("base", "contrastive")
Finish = Callable[[dict[str, Any], Path], dict[str, Any]]


@dataclass(frozen=True)
class Compared:
    """Outcomes of both arms.

    Attributes:
        results: What `result.json` holds, by arm and seed.
        folder: Where the runs lie, with compare.json and compare.html.
    """

    results: dict[str, dict[int, dict[str, Any]]]
    folder: Path

    def table(self) -> list[list[str]]:
        """Return rows as `columns` names them: means over the seeds, up to the IoU of the mesh at the photo's view."""
        rows = []
        for arm, found in self.results.items():
            views = [result["reference_view"]["mesh"] for result in found.values()]
            values = [[view[name] for view in views] for name in self.likeness]
            values += [[result["similarity"][name] for result in found.values()] for name in self.similarities]
            rows.append([arm, str(len(found)), *(f"{np.mean(value):.3f}" for value in values)])
        return rows

    @property
    def columns(self) -> list[str]:
        """Names of the table's columns; dino_sim and clip_sim stand there where every run has them."""
        return ["arm", "seeds", *self.likeness.values(), *self.similarities]

    @property
    def likeness(self) -> dict[str, str]:
        """Names of what is measured at the photo's view, by key: a perceptual distance only where all runs have the
        same, and by its own name."""
        nets = {result["lpips"] for found in self.results.values() for result in found.values()}
        net = nets.pop() if len(nets) == 1 else None
        distance = {} if net is None else {"lpips": "distance of the pyramid" if net == PYRAMID else f"LPIPS ({net})"}
        return {"psnr": "PSNR, dB", "ssim": "SSIM", **distance, "iou": "IoU"}

    @property
    def similarities(self) -> list[str]:
        """Those of dino_sim and clip_sim that every run has, by the same weights."""
        all_of = [result.get("similarity", {}) for found in self.results.values() for result in found.values()]
        return [
            name
            for name in SIMILARITIES
            if all(name in one for one in all_of) and len({one["encoders"][name]["sha256"] for one in all_of}) == 1
        ]


def compare(tree: Mapping[str, Any], seeds: Sequence[int], folder: Path, finish: Finish) -> Compared:
    """Lift a photo with and without the contrastive term.

    Args:
        tree: A configuration of kind "lift", as plain values; its weight of the term, or 100 where it has none, is
            that of the second arm.
        seeds: Each is run with both arms.
        folder: The runs go to `<folder>/<arm>-<seed>`; those that are complete are read, those that were killed go on.
        finish: Runs or resumes a configuration in a folder and returns its result (`experiments.run`, which this room
            does not know).
    """
    checked = LiftConfig.model_validate(tree)
    weights = dict(zip(ARMS, (0.0, checked.contrastive.weight or UNIT), strict=True))
    results: dict[str, dict[int, dict[str, Any]]] = {arm: {} for arm in ARMS}
    for seed in seeds:
        for arm, weight in weights.items():
            change = {"seed": seed, "contrastive": {"weight": weight}}
            results[arm][seed] = finish(laid_over(tree, change), folder / f"{arm}-{seed}")
    compared = Compared(results, folder)
    write_json(folder / "compare.json", {arm: {str(seed): one for seed, one in found.items()}
                                         for arm, found in results.items()})  # fmt: skip
    strips = []
    for seed in seeds:
        for arm in ARMS:
            files = sorted((folder / f"{arm}-{seed}" / "views").glob("*.png"))
            pixels = [np.asarray(Image.open(file).convert("RGB").resize((128, 128))) for file in files]
            strip = Image.fromarray(np.concatenate(pixels, 1))
            strips.append(
                {"name": f"{arm}, seed {seed}", "picture": picture(strip, description=f"{arm} from all sides")}
            )
    write_page(
        folder / "compare.html",
        f"{checked.photo_name}: with and without the contrastive term",
        "lifting/templates/compare.html",
        columns=compared.columns,
        rows=compared.table(),
        strips=strips,
        guidance=next(iter(results["base"].values()))["guidance"],
    )
    return compared
