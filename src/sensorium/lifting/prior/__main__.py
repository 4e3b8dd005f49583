"""Commands to make the embedded prior again: `python -m sensorium.lifting.prior`.

train    RUN --recipe gpu     views, then training; run it again after an interruption
export   RUN                  the averaged weights into this package, with their hash and history
"""

from __future__ import annotations

import logging
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from sensorium.core.config import apply_overrides, build, load_yaml
from sensorium.core.errors import ConfigError, SensoriumError
from sensorium.core.files import read_json

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Make the embedded prior again.")


@app.command()
def train(
    run: Annotated[Path, typer.Argument(help="folder of the training; one that exists is continued")],
    recipe: Annotated[str, typer.Option(help="cpu, gpu, test, or a YAML file")] = "gpu",
    pools: Annotated[Path, typer.Option(help="folder of generated views")] = Path("view-prior-pools"),
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    changes: Annotated[list[str] | None, typer.Option("--set", help="key=value, like 'seed=1'")] = None,
) -> None:
    """Train the prior, or continue a training."""
    from sensorium.lifting.prior.training import TrainingConfig
    from sensorium.lifting.prior.training import train as run_training

    named = Path(str(files("sensorium.lifting.prior") / "recipes" / f"{recipe}.yaml"))
    path = named if named.is_file() else Path(recipe)
    if not path.is_file():
        raise ConfigError(f"there is no recipe '{recipe}': name cpu, gpu or test, or a YAML file")
    config = build(TrainingConfig, apply_overrides(load_yaml(path), changes or []), source=str(path))
    training = run_training(run, config, pools=pools, device=device)
    typer.echo(f"{training.step} steps are done")


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="folder of a training")],
    into: Annotated[Path | None, typer.Option(help="folder; by default the package's own")] = None,
    evaluation: Annotated[Path | None, typer.Option(help="JSON file of what the weights reach, kept with them")] = None,
) -> None:
    """Write the averaged weights in half precision, and what is known about them."""
    from sensorium.lifting.prior.exporting import export_weights

    folder = into or Path(str(files("sensorium.lifting.prior") / "weights"))
    reached = None if evaluation is None else read_json(evaluation)
    if reached is not None and not isinstance(reached, dict):
        raise ConfigError(f"{evaluation} holds no JSON object: names with what the weights reach")
    typer.echo(f"{export_weights(run, folder, reached)} is written")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        app(standalone_mode=True)
    except SensoriumError as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(2) from None
