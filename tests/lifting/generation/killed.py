"""A program that lifts a cube and kills itself with SIGKILL at named moments; run by test_killing.py.

    python killed.py '{"config": {...}, "photo": "pixels.npy", "whole": "runs/whole", "runs": {"meshing": ...}}'

The undisturbed run comes first, in this process, so that all code is compiled and loaded. Each of the others is a
process of its own, forked from here: with one thread there is none that a fork would lose. One JSON object is printed:
the signal that each of them died of, 0 for one that came to its end.
"""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

STEP, TEXTURE_STEP = 10, 15  # from 0 on; each comes after a record that a resumed run makes again


def dead() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dies(owner: Any, name: str, when: Callable[..., bool]) -> None:
    """Let the process die as soon as a function is called with arguments that are meant."""
    whole = getattr(owner, name)

    def dying(*arguments: Any, **options: Any) -> Any:
        if when(*arguments):
            dead()
        return whole(*arguments, **options)

    setattr(owner, name, dying)


def dies_writing(file: Path) -> None:
    """Let the process die amid the writing of a file, half of whose bytes have reached the disk."""
    sync = os.fsync

    def dying(descriptor: int) -> None:
        for begun in file.parent.glob(f".{file.name}.*.tmp"):
            os.truncate(begun, begun.stat().st_size // 2)
            dead()
        sync(descriptor)

    os.fsync = dying


def arm(moment: str, out: Path) -> None:
    from sensorium.lifting import meshing
    from sensorium.lifting.generation import texturing
    from sensorium.lifting.generation.objective import LiftObjective

    if moment == "stage 1":
        dies(LiftObjective, "__call__", lambda objective, cloud, step: step == STEP)
    elif moment == "meshing":  # the surface is there, its texture coordinates are not
        dies(meshing, "unwrap", lambda *arguments: True)
    elif moment == "stage 2":
        dies(texturing, "refined_pose", lambda config, elevation, step: step == TEXTURE_STEP)
    else:
        dies_writing(out / moment)


def main(asked: dict[str, Any]) -> dict[str, int]:
    import numpy as np

    from sensorium.core import registry
    from sensorium.experiments.run import run
    from sensorium.lifting.generation import job
    from sensorium.lifting.guidance.base import GROUP

    sys.path.insert(0, str(Path(__file__).parents[1]))
    from generation.shapes import CubeOracle

    job.VIEW_SIDE = 32
    photo, signals = np.load(asked["photo"]), {}
    config = {**asked["config"], "photo": photo}
    with registry.registered(GROUP, "cube-oracle", CubeOracle):
        run(config, out=asked["whole"])
        for moment, out in asked["runs"].items():
            child = os.fork()
            if not child:
                arm(moment, Path(out))
                run(config, out=out)
                os._exit(0)
            status = os.waitpid(child, 0)[1]
            signals[moment] = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    return signals


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(json.loads(sys.argv[1]))) + "\n")
