"""One photo to a 3D asset, measured: cells of (suite, arm, object, seed), one row for each that is finished.

    OMP_NUM_THREADS=1 python benchmarks/lifting.py stress       # the contrastive term, guidance that knows the truth
    OMP_NUM_THREADS=1 python benchmarks/lifting.py prior        # with the embedded prior: arms, baselines, ablations
    OMP_NUM_THREADS=1 python benchmarks/lifting.py photos       # the pictures of $SENSORIUM_DATA/image3d
    OMP_NUM_THREADS=1 python benchmarks/lifting.py enlarging    # super-resolution on and off
    OMP_NUM_THREADS=1 python benchmarks/lifting.py ablation     # small photos with and without super-resolution
    python benchmarks/lifting.py --table                        # fills tables of docs/results/contrastive-gaussian.md

Objects are procedural and held out: their seeds lie beyond all that the embedded prior was trained on. Each is lifted
from its reference view, as it is; every other view of it is known. A finished cell is not run again, and a suite that
was killed goes on; with other weights of the embedded prior its cells are others. Arms of one object and seed see the
same cameras and the same noise.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sensorium import __version__
from sensorium.core.config import dump
from sensorium.core.files import digest, write_text
from sensorium.core.home import shared_data
from sensorium.core.rundir import machine_class
from sensorium.encoders.lpips import LPIPS
from sensorium.lifting.contrastive import UNIT, released
from sensorium.lifting.generation.cardboard import billboard, extrusion
from sensorium.lifting.generation.config import LiftConfig, laid_over
from sensorium.lifting.generation.making import Maker
from sensorium.lifting.generation.measures import against_truth, drawer, reference_likeness
from sensorium.lifting.guidance.base import Guidance, Pose
from sensorium.lifting.guidance.none import NoGuidance
from sensorium.lifting.guidance.oracle import Oracle
from sensorium.lifting.guidance.view_prior import ViewPriorGuidance
from sensorium.lifting.photo.cutout import Cutout
from sensorium.lifting.photo.enlarging import enlarge
from sensorium.lifting.photo.preparation import prepare_photo
from sensorium.lifting.prior.objects import TRAINING_SEEDS, ProceduralObject, draw_object

NAMES = ("suite", "arm", "thing", "seed", "settings", "weights")  # what tells cells apart, in a row
ROWS = Path(__file__).parents[1] / "docs" / "results" / "rows" / "contrastive-gaussian-lifting.jsonl"
PAGE = ROWS.parents[1] / "contrastive-gaussian.md"
FIRST_SEED = 900_000_100  # of the held-out objects

Tree = dict[str, Any]
OFF: Tree = {"contrastive": {"weight": 0.0}}
RELEASED: Tree = {"contrastive": dump(released(128))}
ON: Tree = {"contrastive": {"weight": UNIT}}
NEGATIVE: Tree = {"contrastive": {"weight": UNIT, "ambiguous": "negative"}}


@dataclass(frozen=True)
class Cell:
    """One lift."""

    suite: str
    arm: str
    thing: str  # an object's seed (and family, where it is chosen), or a picture
    seed: int
    tree: Tree
    guidance: str  # none, view-prior, oracle, oracle-janus; or billboard, extrusion: no lift at all
    dress: bool = False  # whether the second stage is done too
    photo_side: int | None = None  # the photo has so many pixels before it is enlarged
    enlarger: str = "none"
    facts: Tree = field(default_factory=dict)

    @property
    def config(self) -> LiftConfig:
        tree = laid_over({"photo": "procedural", "guidance": {"name": "none"}, "seed": self.seed}, self.tree)
        return LiftConfig.model_validate(tree)

    def key(self) -> tuple[str, str, str, int, str, str | None]:
        """What tells it apart, in the order of `NAMES`; the weights are None where the embedded prior has no say."""
        tree = dump(self.config)
        del tree["similarity"]  # decides nothing of a lift: cells that were finished before it was a key stay finished
        settings = digest(tree, self.guidance, self.dress, self.photo_side, self.enlarger)
        weights = shipped().identity()[:12] if self.guidance == "view-prior" else None
        return self.suite, self.arm, self.thing, self.seed, settings[:12], weights


# --- what is run ----------------------------------------------------------------------------------------------------


def stress() -> Iterator[Cell]:
    """Six objects, three seeds, small runs: the first stage under a clean oracle, and under one that shows the front
    to half of the cameras behind. Lathes look alike from all sides."""
    size: Tree = {"preset": "test"}
    things = [str(FIRST_SEED + k) for k in range(6)]
    lathes = [f"{FIRST_SEED + 50 + k} lathe" for k in range(3)]
    for seed in range(3):
        for thing in things:
            for arm, change in (("off", OFF), ("default", ON), ("negative", NEGATIVE), ("released", RELEASED)):
                yield Cell("janus", arm, thing, seed, laid_over(size, change), "oracle-janus")
            for arm, change in (("off", OFF), ("default", ON)):
                yield Cell("clean", arm, thing, seed, laid_over(size, change), "oracle")
        for thing in lathes:
            for arm, change in (("off", OFF), ("default", ON)):
                yield Cell("lathes", arm, thing, seed, laid_over(size, change), "oracle")


def prior() -> Iterator[Cell]:
    """With the embedded prior: base and contrastive first, then what both must beat, then ablations at the size of a
    test."""
    things = [str(FIRST_SEED + k) for k in range(10)]
    fast: Tree = {"preset": "cpu-fast"}
    small: Tree = {"preset": "test"}
    everything_positive: Tree = {"contrastive": {"weight": UNIT, "split": "all_positive"}}
    unweighted: Tree = {"contrastive": {"weight": UNIT, "quantity": "none"}}
    for thing in things[:8]:
        for arm in ("billboard", "extrusion"):
            yield Cell("ends", arm, thing, 0, fast, arm)
    for thing in things:
        for arm, change in (("base", OFF), ("contrastive", ON)):
            yield Cell("small", arm, thing, 0, laid_over(small, change), "view-prior", dress=True)
        yield Cell("small", "no guidance", thing, 0, laid_over(small, OFF), "none", dress=True)
    for arm, change in (("no split", everything_positive), ("no quantity weights", unweighted)):
        for thing in things:
            yield Cell("small", arm, thing, 0, laid_over(small, change), "view-prior", dress=True)
    for thing in things[:8]:
        yield Cell("ends", "no guidance", thing, 0, laid_over(fast, OFF), "none", dress=True)
        for arm, change in (("base", OFF), ("contrastive", ON)):
            yield Cell("ends", arm, thing, 0, laid_over(fast, change), "view-prior", dress=True)


def enlarging() -> Iterator[Cell]:
    """A photo of half the side, enlarged by a network or by a filter, against the photo of the full side."""
    for enlarger in ("lanczos", "ncnn"):
        for k in range(8):
            yield Cell("enlarging", enlarger, str(FIRST_SEED + k), 0, {"preset": "test", **OFF}, "view-prior",
                       dress=True, photo_side=32, enlarger=enlarger)  # fmt: skip


def ablation() -> Iterator[Cell]:
    """Small photos of the ten objects of `prior`, by the whole method at the size of a test: not enlarged, enlarged by
    a filter, and by a network, which needs its packages and so comes last."""
    tree: Tree = laid_over({"preset": "test"}, ON)
    for arm, enlarger in (("no super-resolution", "none"), ("lanczos", "lanczos"), ("super-resolution", "ncnn")):
        for k in range(10):
            yield Cell("superres", arm, str(FIRST_SEED + k), 0, tree, "view-prior", dress=True, photo_side=32,
                       enlarger=enlarger)  # fmt: skip


def photos() -> Iterator[Cell]:
    folder = shared_data()
    if folder is None:
        raise SystemExit("the pictures need SENSORIUM_DATA")
    for path in sorted((folder / "image3d").glob("*_rgba.png")):
        yield Cell("photos", "cpu-fast", path.name, 0, {"preset": "cpu-fast"}, "view-prior", dress=True)


SUITES: dict[str, Callable[[], Iterator[Cell]]] = {
    "stress": stress,
    "prior": prior,
    "enlarging": enlarging,
    "ablation": ablation,
    "photos": photos,
}

# --- one cell -------------------------------------------------------------------------------------------------------


@lru_cache
def made(thing: str) -> ProceduralObject:
    seed, _, family = thing.partition(" ")
    if int(seed) in TRAINING_SEEDS:
        raise SystemExit(f"seed {seed} is one of those that the prior was trained on")
    return draw_object(int(seed), family or None)


@lru_cache(maxsize=20_000)
def truth(thing: str, pose: Pose, side: int) -> Tensor:
    """The object of a thing from a pose, premultiplied RGBA [4, side, side]."""
    pixels = made(thing).render([pose.elevation], [pose.azimuth], side)[0]
    return torch.from_numpy(pixels.astype(np.float32) / 255).movedim(-1, 0).contiguous()


@lru_cache
def shipped() -> ViewPriorGuidance:
    return ViewPriorGuidance()


def guide(cell: Cell) -> Guidance:
    if cell.guidance == "view-prior":
        return shipped()
    if cell.guidance.startswith("oracle"):
        janus = 0.5 if cell.guidance == "oracle-janus" else 0.0
        return Oracle(lambda pose, side: truth(cell.thing, pose, side), janus=janus)
    return NoGuidance()


def run(cell: Cell) -> Tree:
    """Lift, measure, and return the row."""
    config, lpips = cell.config, LPIPS.shipped()
    side = config.sizes.known_side
    wall, cpu = time.perf_counter(), time.process_time()
    known: Callable[[Pose, int], Tensor] | None = None
    if cell.suite == "photos":
        folder = shared_data()
        assert folder is not None
        prepared = prepare_photo(folder / "image3d" / cell.thing, side=side)
        elevation, framed = 0.0, prepared.framed
        facts: Tree = {"photo": prepared.facts}
    else:
        item = made(cell.thing)
        elevation, facts = item.elevation, {"family": item.family, "elevation": round(item.elevation, 2)}

        def known(pose: Pose, pixels: int) -> Tensor:
            return truth(cell.thing, pose, pixels)

        framed = lambda pixels: known(Pose(elevation, 0.0), pixels)  # noqa: E731
        if cell.photo_side is not None:
            framed, facts["enlarged_by"] = _enlarged(framed(cell.photo_side), side, cell.enlarger)
    reference = framed(side)
    wanted = reference if cell.photo_side is None or known is None else known(Pose(elevation, 0.0), side)
    row: Tree = {"guidance": cell.guidance, **facts}
    if cell.guidance in ("billboard", "extrusion"):
        make = billboard if cell.guidance == "billboard" else extrusion
        assets: Tree = {"mesh": make(reference, elevation)}
    else:
        guidance = guide(cell)
        maker = Maker(reference, framed(config.texture.photo_side), elevation, guidance, config, lpips)
        shaped = maker.shape()
        assets = {"cloud": shaped.cloud}
        row |= {"gaussians": len(shaped.cloud), "loss": shaped.facts["loss"]}
        if cell.dress:
            textured = maker.dress(shaped)
            assets["mesh"] = textured.mesh
            measures = textured.meshed.measures
            row["mesh_facts"] = {"watertight": measures.watertight, "faces": measures.faces, "components":
                                 measures.components, "silhouette_iou": measures.silhouette_iou}  # fmt: skip
    row |= {"cpu_seconds": time.process_time() - cpu, "wall_seconds": time.perf_counter() - wall}
    for name, asset in assets.items():
        draw = drawer(asset)
        row[name] = {"reference": reference_likeness(draw, wanted, elevation, lpips).as_dict()}
        if known is not None:
            row[name]["novel"] = against_truth(draw, known, elevation, lpips).as_dict()
    return row


def _enlarged(small: Tensor, side: int, enlarger: str) -> tuple[Callable[[int], Tensor], str]:
    """The object's box of a small photo, enlarged, in frames of any side; and what enlarged it."""
    rows, columns = (np.flatnonzero((small[3] > 0.05).any(axis).numpy()) for axis in (1, 0))
    box = small[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    found = enlarge(Cutout(box), side, enlarger)  # type: ignore[arg-type]
    return found.cutout.framed, found.enlarger


# --- rows and tables ------------------------------------------------------------------------------------------------


def read(path: Path) -> list[Tree]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def finished(rows: list[Tree]) -> set[tuple[Any, ...]]:
    """The keys of cells that have their row."""
    return {tuple(row.get(name) for name in NAMES) for row in rows}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("suite", nargs="*", choices=[*SUITES, []])
    parser.add_argument("--rows", type=Path, default=ROWS)
    parser.add_argument("--arm", action="append", help="only these arms")
    parser.add_argument("--only", action="append", help="only cells of these suites: janus, ends, small, ...")
    parser.add_argument("--table", action="store_true", help="fill the tables of the results page")
    asked = parser.parse_args()
    for suite in asked.suite:
        for cell in SUITES[suite]():
            if (asked.arm and cell.arm not in asked.arm) or (asked.only and cell.suite not in asked.only):
                continue
            if cell.key() in finished(read(asked.rows)):
                continue
            known = {name: value for name, value in zip(NAMES, cell.key(), strict=True) if value is not None}
            row = rounded({**known, **run(cell)})
            row |= {"version": __version__, "machine": machine_class(), "threads": torch.get_num_threads()}
            with asked.rows.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            shown = row.get("mesh", row.get("cloud"))
            print(*cell.key()[:4], f"{row['cpu_seconds']:.0f} s", json.dumps(shown), flush=True)
    if asked.table:
        from lifting_tables import TABLES

        rows = read(asked.rows)
        block = re.compile(r"(<!-- lifting: ([\w-]+) -->\n).*?(<!-- end of lifting -->)", flags=re.DOTALL)
        page = PAGE.read_text(encoding="utf-8")
        write_text(PAGE, block.sub(lambda found: f"{found[1]}{TABLES[found[2]](rows)}\n{found[3]}", page))


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    return round(value, 5) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
