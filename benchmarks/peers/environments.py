"""The peers' environments: each package with its own pins in a virtual environment of its own, below the cache.

Their requirements exclude each other and ours, so none of them can be an extra. Some have no wheel for every platform
and are then built, which needs a C++ compiler.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from sensorium.core.home import cache_home


@dataclass(frozen=True)
class Peer:
    """A package that is measured beside ours.

    Attributes:
        name: Its name, and that of its worker's file in this folder.
        python: The interpreter that it needs.
        requirements: What pip installs, at these versions.
    """

    name: str
    python: str
    requirements: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """Where its environment is."""
        return cache_home() / "peers" / self.name

    @property
    def interpreter(self) -> Path:
        """Its interpreter; the marker beside it says that the installation was complete."""
        return self.folder / "bin" / "python"

    @property
    def installed(self) -> bool:
        """Whether all requirements of this very list are there."""
        marker = self.folder / "requirements.txt"
        return marker.exists() and marker.read_text() == "\n".join(self.requirements)


PEERS = {
    peer.name: peer
    for peer in (
        # RecBole 1.2.1 imports pkg_resources, calls NumPy and SciPy by names that later releases dropped, and asks for
        # ray at import; 2.6.3 is the last one that it works with.
        Peer(
            "recbole",
            "python3.11",
            (
                "recbole==1.2.1",
                "numpy<2",
                "scipy<1.13",
                "pandas<2.3",
                "setuptools<81",
                "ray==2.6.3",
                "torch==2.13.0",
            ),
        ),
        Peer("implicit", sys.executable, ("implicit==0.7.3", "numpy", "scipy")),
        Peer("cornac", sys.executable, ("cornac==3.0.1",)),
        Peer("rectools", "python3.11", ("rectools[torch]==0.19.0", "torch==2.13.0")),
    )
}


def install(peer: Peer) -> None:
    """Make a peer's environment anew, unless it is there.

    Raises:
        SystemExit: The interpreter is missing, or pip failed; its own message stands above.
    """
    if peer.installed:
        print(f"{peer.name}: installed in {peer.folder}")
        return
    if shutil.which(peer.python) is None:
        raise SystemExit(f"{peer.name} needs {peer.python}, which is not here: install it and call this again")
    shutil.rmtree(peer.folder, ignore_errors=True)
    commands = (
        [peer.python, "-m", "venv", str(peer.folder)],
        [str(peer.interpreter), "-m", "pip", "install", "--quiet", *peer.requirements],
    )
    for command in commands:
        if subprocess.run(command, check=False).returncode:
            raise SystemExit(f"{peer.name} could not be installed: {' '.join(command)} failed")
    (peer.folder / "requirements.txt").write_text("\n".join(peer.requirements))
    print(f"{peer.name}: installed in {peer.folder}")
