"""`sensorium lift PHOTO`, `lift compare PHOTO` and `lift measure RUN FOLDER`: one photo to a 3D asset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from sensorium.cli.options import read_value
from sensorium.cli.output import say, show_table
from sensorium.core.errors import ConfigError, RunError

PHOTO = typer.Argument(..., metavar="PHOTO", help="a picture of one object")
OUT = typer.Option(None, "--out", metavar="FOLDER", help="default: below runs/")
ELEVATION = typer.Option("0", "--elevation", help="of the photo's camera, degrees, negative above; or auto")
MASK = typer.Option(None, "--mask", help="a picture, white where the object is")
PRESET = typer.Option("cpu-fast", "--preset", help="cpu-fast, cpu, gpu, test or parity")
GUIDANCE = typer.Option("view-prior", "--guidance", help="who knows the other sides, see sensorium list guidance")
SETTINGS = typer.Option([], "--set", metavar="KEY=VALUE", help="override one key: contrastive.weight=0")


class PhotoFirst(TyperGroup):
    """A group whose first word may be a photo in place of a command: `lift cup.png` is `lift photo cup.png`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the command there where it was left out."""
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["photo", *args]
        return super().parse_args(ctx, args)


def register(group: typer.Typer) -> None:
    """Add the commands to the group."""
    group.command("photo")(photo)
    group.command("compare")(compare)
    group.command("measure")(measure)


def photo(
    file: Path = PHOTO,
    out: Path | None = OUT,
    elevation: str = ELEVATION,
    mask: Path | None = MASK,
    preset: str = PRESET,
    guidance: str = GUIDANCE,
    seed: int = typer.Option(0, "--seed", help="decides every random draw"),
    settings: list[str] = SETTINGS,
) -> None:
    """Make a 3D asset of one photo: `sensorium lift cup.png`. A killed run is continued by sensorium resume.

    In Python: sensorium.experiments.run.run({"kind": "lift", "photo": "cup.png"}).
    """
    from sensorium.experiments.run import run

    done = run(_tree(file, elevation, mask, preset, guidance, seed), overrides=settings, out=out)
    result = done.result
    view = result["reference_view"]["mesh"]
    say(
        f"{done.path}: {result['gaussians']:,} Gaussians, {result['mesh']['faces']:,} faces, {view['psnr']:.1f} dB at "
        f"the photo's view; guidance: {result['guidance']}"
    )
    for note in result["notes"]:
        say(note)
    say(f"report: {done.report}")


def compare(
    file: Path = PHOTO,
    out: Path | None = OUT,
    elevation: str = ELEVATION,
    mask: Path | None = MASK,
    preset: str = PRESET,
    guidance: str = GUIDANCE,
    seeds: str = typer.Option("0", "--seeds", help="each is run with and without the contrastive term: 0,1,2"),
    settings: list[str] = SETTINGS,
) -> None:
    """Lift a photo with and without the contrastive term, on the same seeds; what was killed goes on.

    In Python: sensorium.lifting.generation.comparing.compare.
    """
    from sensorium.core.config import apply_overrides, build, dump
    from sensorium.core.rundir import RunDirectory
    from sensorium.experiments.run import RUNS, resume, run
    from sensorium.lifting.generation import comparing
    from sensorium.lifting.generation.config import LiftConfig

    def finish(tree: dict[str, Any], path: Path) -> dict[str, Any]:
        config = build(LiftConfig, tree, source="the command line")
        if not (path / "config.yaml").exists():
            return run(config, out=path).result
        if RunDirectory.open(path).config != dump(config):
            raise RunError(f"{path} holds a run of another configuration: choose another folder")
        return resume(path).result

    tree = apply_overrides(_tree(file, elevation, mask, preset, guidance, 0), settings)
    done = comparing.compare(tree, _seeds(seeds), out or RUNS / f"{file.stem}-compare", finish)
    say(f"{done.folder}: the mesh at the photo's view")
    show_table(done.columns, done.table(), numbers=done.columns[1:])
    say(f"report: {done.folder / 'compare.html'}")


def measure(
    run: Path = typer.Argument(..., metavar="RUN", help="the folder of a complete lift"),
    folder: Path = typer.Argument(
        ..., metavar="FOLDER", help="renders of its object: <elevation>_<azimuth>.png and cameras.json"
    ),
    photo: str | None = typer.Option(
        None, "--photo", metavar="NAME", help="the picture that was lifted; default: the photo's name"
    ),
    side: int | None = typer.Option(None, "--side", help="pixels along the compared pictures; default: as they are"),
    out: Path | None = typer.Option(None, "--out", metavar="FILE.json", help="write the numbers there too"),
) -> None:
    """Compare a lift with pictures of its object from known cameras, as renders of GSO and OmniObject3D.

    In Python: sensorium.lifting.generation.renders.measured("runs/cup", "renders/cup").
    """
    from sensorium.core.files import write_json
    from sensorium.lifting.generation.renders import measured

    if side is not None and side < 16:
        raise ConfigError(f"--side {side}: at least 16 pixels")
    found = measured(run, folder, photo=photo, side=side)
    views = found["mesh"]["views"]
    say(f"{run} against {views:.0f} pictures of {folder.name} from other sides")
    names = ["psnr", "ssim", "lpips", "iou", "behind_psnr", "janus"]
    rows = [
        [kind, *("" if (value := values[name]) is None else f"{value:.3f}" for name in names)]
        for kind, values in found.items()
    ]
    columns = ["", "PSNR, dB", "SSIM", "LPIPS", "IoU", "PSNR behind, dB", "Janus index"]
    show_table(columns, rows, numbers=columns[1:])
    if out is not None:
        write_json(out, found)
        say(f"{out}: the numbers")


def _tree(file: Path, elevation: str, mask: Path | None, preset: str, guidance: str, seed: int) -> dict[str, Any]:
    return {
        "kind": "lift",
        "photo": str(file),
        "elevation": "auto" if elevation == "auto" else _degrees(elevation),
        "preset": preset,
        "guidance": read_value(guidance),
        "seed": seed,
        **({"preparation": {"mask": str(mask)}} if mask is not None else {}),
    }


def _degrees(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"--elevation {text}: degrees or auto") from None


def _seeds(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"--seeds {text}: whole numbers, separated by commas") from None
