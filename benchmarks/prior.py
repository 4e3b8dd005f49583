"""How well the embedded prior knows other sides of objects that it has never seen, beside five baselines.

    OMP_NUM_THREADS=1 python benchmarks/prior.py --pools FOLDER [--objects 200] [--weights FILE]
    python benchmarks/prior.py --table     # fills the tables of the documents

Three of four objects are of families that are trained on, the fourth of one that is not; all have seeds that training
refuses. Of each, four views are predicted from the reference. PSNR and IoU are those of the mean of 4 samples with
g = 1, which estimates the mean of the model's distribution; SSIM and LPIPS those of one sample with g = 2; DDIM with 25
steps and noise that belongs to the object. Pictures are 64 x 64 on white. Baselines see the same reference: the
reference itself, its mirror image, the mean training view of the 30 degrees of azimuth, the training object whose
reference is nearest (at the nearest of its poses), and, as a bound on memory, the training view nearest to the truth.
What training offers is searched at 32 pixels and drawn again at 64. An object that has its row is not done again.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sensorium.core.files import sha256_file, write_text
from sensorium.core.rundir import RunDirectory, machine_class
from sensorium.core.seeds import torch_generator
from sensorium.encoders.lpips import LPIPS
from sensorium.evaluation.bootstrap import mean_interval
from sensorium.lifting.generation.measures import likeness
from sensorium.lifting.prior import Reference, ViewPrior
from sensorium.lifting.prior.families import HELD_OUT
from sensorium.lifting.prior.objects import TRAINING_SEEDS, draw_object
from sensorium.lifting.prior.pool import Pool, read, render_views

ROWS = Path(__file__).parents[1] / "docs" / "results" / "rows" / "contrastive-gaussian-prior.jsonl"
PAGES = (ROWS.parents[1] / "contrastive-gaussian.md", ROWS.parents[2] / "lifting-prior.md")
TARGETS, SAMPLES, STEPS, SEARCH, BIN = 4, 4, 25, 32, 30
BASELINES = ("copy", "mirrored copy", "mean view", "nearest object")
BOUND = "nearest view to the truth"
FAR = 60.0  # degrees of azimuth from which the far side begins


def chosen(number: int) -> tuple[int, str | None]:
    """Return seed and family (None: the seed's own) of an object of the evaluation."""
    return TRAINING_SEEDS.stop + number, HELD_OUT[number // 4 % 2] if number % 4 == 3 else None


class Memory:
    """What baselines know: the views that training saw."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.views = self._small(pool.rgba.flatten(0, 1))  # [n V, 4, 32, 32] in 0..1
        self.count = pool.rgba.shape[1]
        self.flat = self.views.flatten(1)
        azimuths = pool.poses[..., 1].flatten()
        self.bins = ((azimuths + 180) // BIN).long().clamp(0, 360 // BIN - 1)
        targets = torch.arange(len(self.views)) % self.count > 0
        self.means = torch.stack([self.views[(self.bins == b) & targets].mean(0) for b in range(360 // BIN)])

    @staticmethod
    def _small(rgba: Tensor) -> Tensor:
        views = rgba.permute(0, 3, 1, 2).float() / 255
        return functional.avg_pool2d(views, views.shape[-1] // SEARCH)

    def baselines(self, reference: Tensor, truth: Tensor, pose: Tensor) -> dict[str, Tensor]:
        """Return each baseline's picture [4, 64, 64] for a pose (elevation, azimuth); pictures in 0..1."""
        side = truth.shape[-1]
        mean = self.means[int((pose[1] + 180) // BIN)]
        mean = functional.interpolate(mean[None], (side, side), mode="bilinear", align_corners=False)[0]
        nearest = self._nearest(reference, self.flat[:: self.count])
        return {
            "copy": reference,
            "mirrored copy": reference.flip(-1),
            "mean view": mean,
            "nearest object": self._drawn(nearest, self._closest(nearest, pose), side),
            BOUND: self._drawn(*divmod(self._nearest(truth, self.flat), self.count), side),
        }

    def _nearest(self, picture: Tensor, among: Tensor) -> int:
        small = functional.avg_pool2d(picture[None], picture.shape[-1] // SEARCH).flatten(1)
        return int(torch.cdist(small, among)[0].argmin())

    def _closest(self, place: int, pose: Tensor) -> int:
        poses = torch.deg2rad(torch.cat([self.pool.poses[place], pose[None]]))
        towards = torch.stack(
            [poses[:, 0].cos() * poses[:, 1].sin(), -poses[:, 0].sin(), poses[:, 0].cos() * poses[:, 1].cos()], 1
        )
        return int((towards[:-1] @ towards[-1]).argmax())

    def _drawn(self, place: int, view: int, side: int) -> Tensor:
        elevation, azimuth = self.pool.poses[place, view].tolist()
        made = draw_object(int(self.pool.seeds[place]))
        return torch.from_numpy(made.render([elevation], [azimuth], side))[0].permute(2, 0, 1).float() / 255


def one_row(number: int, prior: ViewPrior, memory: Memory, lpips: LPIPS, sha256: str) -> dict[str, Any]:
    began = time.process_time()
    seed, family = chosen(number)
    pictures, poses = render_views(seed, TARGETS + 1, prior.native_size, family)
    views = pictures.permute(0, 3, 1, 2).float() / 255
    shown, truths, wanted = views[0], views[1:], poses[1:]
    reference = prior.reference(shown, float(poses[0, 0]))
    asked = torch.cat([wanted, poses[:1]]).repeat(SAMPLES, 1)  # the reference's own pose comes last
    noise = torch_generator(seed, "noise")
    means = prior.sample(reference, asked[:, 0], asked[:, 1], steps=STEPS, scale=1.0, generator=noise)
    means = means.unflatten(0, (SAMPLES, TARGETS + 1)).mean(0)
    singles = prior.sample(reference, wanted[:, 0], wanted[:, 1], steps=STEPS, scale=2.0, generator=noise)
    targets = []
    for truth, pose, mean, single in zip(truths, wanted, means[:-1], singles, strict=True):
        blurred, sharp = likeness(mean, truth, lpips), likeness(single, truth, lpips)
        found = {"prior": {"psnr": blurred.psnr, "iou": blurred.iou, "ssim": sharp.ssim, "lpips": sharp.lpips}}
        found["prior, one sample"] = sharp.as_dict()
        for name, picture in memory.baselines(shown, truth, pose).items():
            found[name] = likeness(picture, truth, lpips).as_dict()
        rounded = {name: {key: round(value, 4) for key, value in entry.items()} for name, entry in found.items()}
        targets.append({"elevation": round(float(pose[0]), 2), "azimuth": round(float(pose[1]), 2), "found": rounded})
    return {
        "cell": "view-prior quality",
        "seed": seed,
        "family": draw_object(seed, family).family,
        "held_out_family": family is not None,
        "weights": sha256[:16],
        "targets": targets,
        "same_pose_psnr": round(likeness(means[-1], shown, lpips).psnr, 4),
        "conditions": conditions(number, prior, reference, truths, wanted, lpips),
        "elevation_error": round(abs(prior.elevation(shown) - float(poses[0, 0])), 4),
        "cpu_seconds": round(time.process_time() - began, 2),
        "machine": machine_class(),
    }


def conditions(
    number: int, prior: ViewPrior, reference: Reference, truths: Tensor, poses: Tensor, lpips: LPIPS
) -> dict[str, float]:
    """PSNR of the mean that the model tells at once of nearly pure noise, with the right and with wrong conditions."""
    seed, family = chosen(number + 1)
    other, own = render_views(seed, 1, prior.native_size, family)
    stranger = prior.reference(other[0].permute(2, 0, 1).float() / 255, float(own[0, 0]))
    noise = torch.randn(truths.shape, generator=torch_generator(seed, "conditions"))
    late = torch.full((len(truths),), 0.99)

    def psnr(known: Reference, azimuths: Tensor) -> float:
        velocity = prior.velocity(noise, late, known, poses[:, 0], azimuths)
        told = (prior.schedule.clean(noise, velocity, late).clamp(-1, 1) + 1) / 2
        return float(np.mean([likeness(one, truth, lpips).psnr for one, truth in zip(told, truths, strict=True)]))

    return {
        "right": round(psnr(reference, poses[:, 1]), 4),
        "shuffled reference": round(psnr(stranger, poses[:, 1]), 4),
        "azimuth + 90": round(psnr(reference, poses[:, 1] + 90), 4),
    }


# --- tables ---------------------------------------------------------------------------------------------------------

Rows = list[dict[str, Any]]
METRICS = {"psnr": "PSNR, dB", "iou": "IoU", "ssim": "SSIM", "lpips": "LPIPS"}


def read_rows(path: Path = ROWS) -> Rows:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def per_object(rows: Rows, method: str, metric: str, *, far: bool = False) -> list[float]:
    """The mean over an object's targets, for each object that has one."""
    found = []
    for row in rows:
        values = [t["found"][method][metric] for t in row["targets"] if not far or abs(t["azimuth"]) >= FAR]
        if values:
            found.append(float(np.mean(values)))
    return found


def shown(values: list[float], digits: int = 2) -> str:
    interval = mean_interval(values)
    return f"{interval.mean:.{digits}f} ({interval.low:.{digits}f} to {interval.high:.{digits}f})"


def quality_table(rows: Rows) -> str:
    lines = [f"| method | {' | '.join(METRICS.values())} |", "| --- |" + " ---: |" * len(METRICS)]
    for method in ("prior", "prior, one sample", *BASELINES, BOUND):
        cells = [shown(per_object(rows, method, metric), 2 if metric == "psnr" else 3) for metric in METRICS]
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join(lines)


def against(rows: Rows, methods: tuple[str, ...], metric: str, *, far: bool = False) -> tuple[str, list[float]]:
    """The best of some methods on a metric, and the prior's differences from it by object."""
    means = {method: float(np.mean(per_object(rows, method, metric, far=far))) for method in methods}
    best = min(means, key=means.__getitem__) if metric == "lpips" else max(means, key=means.__getitem__)
    pairs = zip(*(per_object(rows, name, metric, far=far) for name in ("prior", best)), strict=True)
    return best, [mine - other for mine, other in pairs]


def expectations(rows: Rows) -> list[tuple[str, str, str]]:
    """What was expected, in words and as a bound, and what came out."""
    found = []
    for name, chosen_rows, far, bound in (
        ("all views", rows, False, "2.0"),
        (f"azimuth from {FAR:.0f} degrees", rows, True, "2.0"),
        ("held-out families", [row for row in rows if row["held_out_family"]], False, "1.0"),
    ):
        best, gain = against(chosen_rows, BASELINES, "psnr", far=far)
        found.append((f"PSNR over the best baseline, {name} ({best})", f"≥ {bound} dB", f"{shown(gain)} dB"))
        if name != "held-out families":
            overlap = against(chosen_rows, ("copy",), "iou", far=far)[1]
            found.append((f"IoU over copy, {name}", "≥ 0.10", shown(overlap, 3)))
    found.append((f"PSNR over the {BOUND}", "> 0 dB", f"{shown(against(rows, (BOUND,), 'psnr')[1])} dB"))
    ratio = np.mean(per_object(rows, "prior", "lpips")) / np.mean(per_object(rows, "copy", "lpips"))
    found.append(("LPIPS, share of copy's", "≤ 0.85", f"{ratio:.2f}"))
    best, gain = against(rows, BASELINES, "ssim")
    found.append((f"SSIM over the best baseline ({best})", "> 0", shown(gain, 3)))
    for name, bound in (("shuffled reference", "2"), ("azimuth + 90", "1")):
        cost = [row["conditions"]["right"] - row["conditions"][name] for row in rows]
        found.append((f"PSNR lost by: {name}", f"≥ {bound} dB", f"{shown(cost)} dB"))
    found.append(
        ("PSNR of the reference's own pose", "≥ 24 dB", f"{shown([row['same_pose_psnr'] for row in rows])} dB")
    )
    found.append(
        ("error of the elevation", "≤ 8 degrees", f"{shown([row['elevation_error'] for row in rows], 1)} degrees")
    )
    return found


def expectation_table(rows: Rows) -> str:
    lines = ["| what | expected | found |", "| --- | ---: | ---: |"]
    return "\n".join(lines + [f"| {what} | {bound} | {value} |" for what, bound, value in expectations(rows)])


def card_table(rows: Rows) -> str:
    """What the file beside the shipped weights says."""
    card = ViewPrior.shipped().card
    training = card["training"]
    facts = {
        "parameters": f"{card['parameters']:,}, {card['bytes'] / 1e6:.1f} MB in half precision",
        "channels": f"{', '.join(map(str, card['network']['channels']))}; patch {card['network']['patch']}",
        "SHA-256": f"`{card['sha256']}`",
        "trained for": f"{training['hours']:.2f} hours, {training['cpu_hours']:.2f} of them on the processor",
        "on": f"{training['machine']}, {training['threads'] or 'all'} thread, shared with other work",
        "generator": f"version {card['generator']}",
    }
    before, generation = card.get("begun_from"), "begun from"
    while before is not None:
        known = before.get("training")
        facts[generation] = f"weights `{before['sha256'][:12]}`" + (
            f", trained for {known['cpu_hours']:.2f} hours of a processor, {known['steps']:,} steps" if known else ""
        )
        before, generation = before.get("begun_from"), f"{generation}, these from"
    for number, phase in enumerate(training["phases"], start=1):
        pool = phase["pool"]
        facts[f"phase {number}"] = (
            f"{phase['steps']:,} steps, {phase['samples']:,} views of {phase['side']} pixels "
            f"from {pool['objects']:,} objects with {pool['views']} views"
        )
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {fact} |" for name, fact in facts.items())])


TABLES = {"quality": quality_table, "expected": expectation_table, "card": card_table}


def filled(page: str, rows: Rows) -> str:
    """Return a page with its tables of the prior made anew."""
    for name, table in TABLES.items():
        if f"<!-- view-prior: {name} -->" not in page:
            continue
        pattern = re.compile(rf"(<!-- view-prior: {name} -->\n).*?(<!-- end of view-prior -->)", flags=re.DOTALL)
        page = pattern.sub(lambda block, table=table: f"{block[1]}{table(rows)}\n{block[2]}", page)
    return page


def training_pool(folder: Path) -> Pool:
    """The largest pool in a folder."""
    pools = [read(path.parent) for path in sorted(folder.glob("*/pool.json"))]
    return max(pools, key=lambda pool: pool.rgba.shape[0] * pool.rgba.shape[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pools", type=Path, help="folder of the pools that training used")
    parser.add_argument("--objects", type=int, default=200)
    parser.add_argument("--weights", type=Path, help="by default those of the package")
    parser.add_argument("--rows", type=Path, default=ROWS)
    parser.add_argument("--table", action="store_true", help="only fill the tables")
    options = parser.parse_args()
    if options.table:
        for page in PAGES:
            write_text(page, filled(page.read_text(encoding="utf-8"), read_rows(options.rows)))
        return
    if options.pools is None:
        parser.error("--pools: baselines need the views of the training")
    prior = ViewPrior.shipped() if options.weights is None else ViewPrior.from_file(options.weights)
    sha256 = str(prior.card["sha256"]) if options.weights is None else sha256_file(options.weights)
    memory, lpips = Memory(training_pool(options.pools)), LPIPS.shipped()
    done = {row["seed"] for row in read_rows(options.rows) if row["weights"] == sha256[:16]}
    for number in range(options.objects):
        if chosen(number)[0] not in done:
            row = one_row(number, prior, memory, lpips, sha256)
            RunDirectory(options.rows.parent).append(options.rows.name, row)
            print(row["seed"], row["family"], f"{row['cpu_seconds']:.0f} s", flush=True)


if __name__ == "__main__":
    main()
