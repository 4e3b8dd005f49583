"""`sensorium lift PHOTO`, `lift view | mesh | turntable FILE` and `lift fit FOLDER`: objects in three dimensions."""

from __future__ import annotations

from pathlib import Path

import typer

from sensorium.cli import lift_photo
from sensorium.cli.options import one_of
from sensorium.cli.output import say, show_table
from sensorium.core.errors import ConfigError

AXES = ("opengl", "colmap")
FILE = typer.Argument(..., metavar="FILE", help="a cloud (.ply), or a textured mesh (.glb, .obj)")
HELD = typer.Option("opengl", "--axes", help="axes of the cloud's file: opengl, or colmap where y points down")
ELEVATION = typer.Option(-15.0, "--elevation", help="of the camera, degrees; negative is above")

group = typer.Typer(
    help="Objects in three dimensions: make one of a photo, look at it, mesh it, film it.",
    rich_markup_mode=None,
    cls=lift_photo.PhotoFirst,
)


def register(app: typer.Typer) -> None:
    """Add the group to the application."""
    lift_photo.register(group)
    app.add_typer(group, name="lift")


@group.command("view")
def view(
    file: Path = FILE,
    out: Path | None = typer.Option(None, "--out", metavar="PAGE.html", help="default: beside the file"),
    axes: str = HELD,
    elevation: float = ELEVATION,
    film: bool = typer.Option(True, "--film/--no-film", help="show a turn of it as a GIF too"),
) -> None:
    """Write one HTML page that shows the object: it can be turned, offline.

    In Python: sensorium.lifting.viewer.write_viewer("object.html", read_asset("object.ply"), title="object").
    """
    from sensorium.lifting.files.assets import read_asset
    from sensorium.lifting.viewer import write_viewer

    page = out or file.with_suffix(".html")
    asset = read_asset(file, axes=one_of("--axes", axes, AXES))  # type: ignore[arg-type]
    write_viewer(page, asset, title=file.stem, elevation=elevation, film=film)
    say(f"{page}: open it in any browser")


@group.command("mesh")
def mesh(
    file: Path = typer.Argument(..., metavar="FILE", help="a cloud (.ply)"),
    out: Path | None = typer.Option(
        None, "--out", metavar="MESH", help=".glb or .obj; default: a .glb beside the file"
    ),
    axes: str = HELD,
    level: str = typer.Option("auto", "--level", help="density at the surface, or auto: by the outlines of the splats"),
    resolution: int = typer.Option(128, "--resolution", help="samples of the density along each side"),
    max_faces: int = typer.Option(20_000, "--max-faces", help="decimate down to this many"),
    texture: int = typer.Option(1024, "--texture", help="texels along each side"),
    view_size: int = typer.Option(512, "--view-size", help="pixels along each side of the pictures for the texture"),
    merge: str = typer.Option("blend", "--merge", help="how views meet on the texture: blend or first"),
) -> None:
    """Make a closed, textured mesh of a cloud.

    In Python: sensorium.lifting.meshing.make_mesh(read_ply("object.ply")).mesh, and files.meshes.write_mesh.
    """
    from sensorium.core.config import build
    from sensorium.core.resources import readable_seconds
    from sensorium.lifting.files.meshes import check_suffix, write_mesh
    from sensorium.lifting.files.ply import read_ply
    from sensorium.lifting.meshing import MeshConfig, make_mesh

    path = check_suffix(out or file.with_suffix(".glb"))
    config = build(
        MeshConfig,
        {
            "level": level if level == "auto" else _number("--level", level),
            "resolution": resolution,
            "max_faces": max_faces,
            "texture": texture,
            "view_size": view_size,
            "merge": merge,
        },
        source="the command line",
    )
    cloud = read_ply(file, axes=one_of("--axes", axes, AXES))  # type: ignore[arg-type]
    made = make_mesh(cloud, config)
    write_mesh(path, made.mesh)
    taken = readable_seconds(sum(made.seconds.values()))
    say(f"{path}: {made.measures.faces:,} faces at density {made.level:g}, {taken}")
    rows = [[name.replace("_", " "), _short(value)] for name, value in made.measures.as_dict().items()]
    show_table(["measure", "value"], rows, numbers=("value",))


@group.command("turntable")
def turntable(
    file: Path = FILE,
    out: Path | None = typer.Option(
        None, "--out", metavar="FILM", help=".mp4 or .gif; default: a .mp4 beside the file"
    ),
    axes: str = HELD,
    elevation: float = ELEVATION,
    frames: int | None = typer.Option(None, "--frames", help="of one turn; default 120, 60 for a GIF"),
    size: int | None = typer.Option(None, "--size", help="pixels along each side; default 512, 256 for a GIF"),
) -> None:
    """Film one turn of the object.

    In Python: sensorium.lifting.turntable.write_turntable("object.mp4", read_asset("object.ply")).
    """
    from sensorium.lifting.files.assets import read_asset
    from sensorium.lifting.turntable import write_turntable

    path = out or file.with_suffix(".mp4")
    asset = read_asset(file, axes=one_of("--axes", axes, AXES))  # type: ignore[arg-type]
    write_turntable(path, asset, frames=frames, size=size, elevation=elevation)
    say(f"{path}: one turn")


@group.command("fit")
def fit(
    photographs: Path = typer.Argument(..., metavar="FOLDER", help="one object on white: <elevation>_<azimuth>.png"),
    out: Path | None = typer.Option(None, "--out", metavar="FOLDER", help="the run's folder; default: below runs/"),
    settings: list[str] = typer.Option([], "--set", metavar="KEY=VALUE", help="override one key: fit.points=2000"),
    seed: int = typer.Option(0, "--seed", help="decides every random draw"),
) -> None:
    """Fit a cloud to photographs from known directions; a killed run is continued by sensorium resume.

    In Python: sensorium.experiments.run.run({"kind": "splat", "photographs": "photos"}).
    """
    from sensorium.experiments.run import run

    done = run({"kind": "splat", "photographs": str(photographs), "seed": seed}, overrides=settings, out=out)
    held_out = done.result["held_out"]["psnr"]
    shown = "" if held_out is None else f", {held_out:.1f} dB from sides that were held out"
    say(f"{done.path / 'cloud.ply'}: {done.result['gaussians']:,} Gaussians{shown}")
    say(f"report: {done.report}")


def _number(option: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(f"{option} {text}: a number or auto") from None


def _short(value: bool | int | float | None) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
