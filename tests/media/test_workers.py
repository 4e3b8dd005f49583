import os
import threading
import time
from operator import mul, truediv
from pathlib import Path

import pytest

from sensorium.core.config import load_yaml
from sensorium.core.errors import SensoriumError
from sensorium.media.errors import MediaError
from sensorium.media.video import probe
from sensorium.media.workers import Workers


def test_a_file_that_hangs_or_kills_costs_itself_alone() -> None:
    """A decoder that hangs or dies loses its own file only."""
    with Workers(1, seconds=3) as workers:
        assert workers.call(mul, 2, 21) == 42
        first = workers.call(os.getpid)
        with pytest.raises(MediaError, match=r"v\.mp4: reading it took more than 3 seconds") as caught:
            workers.call(time.sleep, 600, source="v.mp4")
        assert caught.value.reason == "timed_out"
        assert workers.call(os.getpid) != first
    with Workers(1, seconds=60) as workers:  # a busy machine is no decoder that hangs
        for work, arguments, how in ((os.abort, (), "SIGABRT"), (os._exit, (7,), "status 7")):
            with pytest.raises(MediaError, match=f"its decoder died \\({how}\\)") as caught:
                workers.call(work, *arguments, source="v.mp4")
            assert caught.value.reason == "crashed"
            assert workers.call(mul, 2, 4) == 8
        # errors of the function are no reason to lose the process
        held = workers.call(os.getpid)
        with pytest.raises(MediaError) as missing:
            workers.call(probe, Path("nowhere.mp4"))
        assert (missing.value.reason, missing.value.source) == ("missing_file", "nowhere.mp4")
        with pytest.raises(SensoriumError, match=r"nowhere\.yaml: cannot be read"):
            workers.call(load_yaml, "nowhere.yaml")
        assert workers.call(os.getpid) == held
        with pytest.raises(RuntimeError, match="ZeroDivisionError"):
            workers.call(truediv, 1, 0)


def test_closing_ends_what_is_under_way() -> None:
    workers = Workers(1)
    caught: list[BaseException] = []
    begun = threading.Event()

    def wait() -> None:
        workers.call(mul, 2, 1)
        begun.set()
        try:
            workers.call(time.sleep, 600)
        except SensoriumError as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    assert begun.wait(60)
    time.sleep(0.2)
    workers.close()
    thread.join(timeout=20)
    assert not thread.is_alive()
    assert len(caught) == 1
    with pytest.raises(SensoriumError, match="closed"):
        workers.call(mul, 2, 1)
