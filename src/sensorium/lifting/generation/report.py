"""The page of a lift: the photo, the mesh from eight sides, its numbers, and how it came about."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from sensorium.core.pages import picture, write_page
from sensorium.core.rundir import RunDirectory
from sensorium.lifting.generation.config import LiftConfig

PAGE = "report.html"


def write_report(path: Path, config: LiftConfig) -> None:
    """Write `report.html` of a complete run from the files that it left.

    Args:
        path: The run's folder.
        config: Of the run.
    """
    result = RunDirectory.open(path).result
    assert result is not None  # the page comes after the work

    def shown(file: Path, description: str, width: int | None = None) -> dict[str, object]:
        with Image.open(file) as image:
            return {"name": file.stem, "picture": picture(image.copy(), description=description, width=width)}

    film = f"turntable.{config.output.turntable}"
    write_page(
        path / PAGE,
        config.photo_name,
        "lifting/templates/lift.html",
        result=result,
        photo=shown(path / "reference.png", "the photo, cut out and centred", 256),
        views=[shown(file, f"the mesh at azimuth {int(file.stem)}") for file in sorted((path / "views").glob("*.png"))],
        previews=[
            shown(file, f"the Gaussians after {int(file.stem)} steps")
            for file in sorted((path / "previews").glob("*.png"))
        ],
        mesh=f"mesh.{config.output.mesh}",
        film=film if (path / film).exists() else "",
        files=["cloud.ply", f"mesh.{config.output.mesh}", *([film] if (path / film).exists() else [])],
    )
