"""What a training step costs in each way of tuning an encoder: parameters, peak memory, seconds.

    python benchmarks/towers.py --encoder minilm-l6 --items 16 --tokens 42

Each way runs in a process of its own, so that peaks do not add up. Texts are made words.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

import numpy as np

TUNES = ("frozen", "top_k", "houlsby", "lora", "bitfit", "full")


def main() -> None:
    """Measure all ways, or one in this process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--encoder", default="minilm-l6")
    parser.add_argument("--items", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=42)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--tune", choices=TUNES)
    given = parser.parse_args()
    if given.tune:
        print(json.dumps(one(given.encoder, given.tune, given.items, given.tokens, given.steps)))
        return
    print(f"{given.encoder}, {given.items} texts of {given.tokens} tokens\n")
    print("| tune | trainable | peak MB | s per step |\n|---|---|---|---|")
    for tune in TUNES:
        command = [sys.executable, __file__, "--tune", tune]
        command += [f"--{name}={getattr(given, name)}" for name in ("encoder", "items", "tokens", "steps")]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        peak, seconds = found["peak_bytes"] / 1e6, found["seconds_per_step"]
        print(f"| `{tune}` | {found['trainable']:,} | {peak:,.0f} | {seconds:.3g} |")


def one(encoder: str, tune: str, items: int, tokens: int, steps: int) -> dict[str, int | float | str]:
    """Measure one way."""
    import torch

    from sensorium.core import registry
    from sensorium.encoders.tuning.cost import measure
    from sensorium.encoders.tuning.tower import Tower

    target = registry.get("sensorium.encoders", encoder)
    tower = Tower(target(target.Config()), tune, dim=64)  # type: ignore[arg-type]
    tower.train()
    words = np.random.default_rng(0).choice(["city", "war", "love", "night", "river", "king"], (items, tokens - 2))
    prepared = [tower.encoder.preparer(" ".join(row)) for row in words]
    optimiser = torch.optim.AdamW(tower.trainable(), 1e-4)

    def step() -> None:
        optimiser.zero_grad()
        tower.vectors(prepared).square().mean().backward()
        optimiser.step()

    return measure(tower, step, steps).record()


if __name__ == "__main__":
    main()
