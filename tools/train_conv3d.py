"""Train the small 3D network `conv3d` to tell motions apart: python tools/train_conv3d.py [--steps 0,20,60,400].

Clips are drawn as those of the demo catalogue are, by another seed: one motion each, any formation, any colours. For
each number of steps the weights go to the cache's folder conv3d/motion-<steps>, with the share of 400 further clips
whose motion they tell (chance .25) in accuracy.json. One thread gives the same bytes each time.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from sensorium.core.files import write_json, write_safetensors
from sensorium.core.home import cache_home
from sensorium.data.demo.clips import FORMATIONS, FRAMES, MOTION_OF_TOPIC, draw_clip
from sensorium.encoders.conv3d import MODEL, NAME, WIDTHS, Conv3D
from sensorium.encoders.conv3d_network import Conv3DNetwork
from sensorium.encoders.preparing.image import ImagePreparer
from sensorium.encoders.preparing.video import FramePreparer

MOTIONS = ("swing", "rise", "orbit", "drift")
SEED, TRAIN, TEST, BATCH = 20_000, 1_600, 400, 32
ALONE = np.array([1, 0], dtype=np.float32)


def drawn(first: int, count: int) -> tuple[Tensor, Tensor]:
    """Return clips as the encoder takes them, float32 [count, T, 3, H, W], and their motions, int64 [count]."""
    encoder = Conv3D()
    preparer = encoder.preparer
    assert isinstance(preparer, FramePreparer)
    image: ImagePreparer = preparer.image
    topic_of = {motion: topic for topic, motion in MOTION_OF_TOPIC.items()}
    shapes = tuple(FORMATIONS)
    moments = ((2 * np.arange(preparer.frames) + 1) * FRAMES) // (2 * preparer.frames)
    clips, labels = [], []
    for item in range(first, first + count):
        motion = item % len(MOTIONS)
        shape = np.eye(len(shapes), dtype=np.float32)[(item // len(MOTIONS)) % len(shapes)]
        topics = topic_of[MOTIONS[motion]], topic_of[MOTIONS[motion - 1]]  # the second one has no share
        frames = draw_clip(ALONE, topics, shape, shapes, SEED, item).frames[moments]
        clips.append(np.stack([image.normalised(image.fitted(Image.fromarray(frame))) for frame in frames]))
        labels.append(motion)
    return torch.from_numpy(np.stack(clips)), torch.tensor(labels)


def accuracy(network: nn.Module, head: nn.Module, clips: Tensor, labels: Tensor) -> float:
    """Return the share of clips whose motion is told."""
    with torch.no_grad():
        found = torch.cat([head(network(part)).argmax(1) for part in clips.split(64)])
    return float((found == labels).float().mean())


def main() -> None:
    """Train, and keep the weights at each number of steps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", default="0,40,120,600", help="numbers of steps, ascending, separated by commas")
    parser.add_argument("--out", type=Path, default=None, help="folder; default: conv3d in the cache")
    asked = parser.parse_args()
    kept = sorted({int(number) for number in asked.steps.split(",")})
    out = asked.out or cache_home() / NAME
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network, head = Conv3DNetwork(), nn.Linear(WIDTHS[-1], len(MOTIONS))
    (clips, labels), (unseen, answers) = drawn(0, TRAIN), drawn(TRAIN, TEST)
    optimizer = torch.optim.AdamW([*network.parameters(), *head.parameters()], 2e-3)
    for step in range(kept[-1] + 1):
        if step in kept:
            told = accuracy(network, head, unseen, answers)
            folder = out / f"motion-{step}"
            write_safetensors(folder / MODEL, dict(network.state_dict()))
            write_json(folder / "accuracy.json", {"steps": step, "motions": list(MOTIONS), "accuracy": told})
            print(f"motion-{step}: {told:.3f} of {TEST} clips, chance {1 / len(MOTIONS):.2f}")
        rows = torch.randint(TRAIN, (BATCH,))
        optimizer.zero_grad()
        functional.cross_entropy(head(network(clips[rows])), labels[rows]).backward()
        optimizer.step()


if __name__ == "__main__":
    main()
