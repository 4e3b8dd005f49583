"""A program that judges in processes that may be killed: the tests talk to it, its children die.

One program for many processes, since starting Python takes longer than judging a few small videos.
"""

import contextlib
import json
import os
import sys
import traceback
from pathlib import Path


def serve() -> None:
    """Answer lines [path, config]: run or resume in a new process; print its number at once, its status at its end."""
    # Here, so that no child has to; and not above, since decoding processes import this file again.
    import av  # noqa: F401
    import tenacity  # noqa: F401

    from sensorium.core.files import write_text
    from sensorium.experiments.run import resume, run
    from sensorium.judging import job, leaderboard, report  # noqa: F401
    from sensorium.judging.judges import openai_compatible  # noqa: F401

    report.write_report = lambda path: write_text(path / "report.html", "a page")  # the real one draws for seconds

    for line in sys.stdin:
        path, config = json.loads(line)
        child = os.fork()
        if child == 0:
            status = 1
            with contextlib.suppress(BaseException):
                try:
                    if (Path(path) / "config.yaml").exists():
                        resume(path)
                    else:
                        run(config, out=path)
                    status = 0
                except Exception:
                    traceback.print_exc()
                    raise
            os._exit(status)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()
        _, ended = os.waitpid(child, 0)
        sys.stdout.write(f"{ended}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
