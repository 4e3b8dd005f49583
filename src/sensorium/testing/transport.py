"""A view and a model on their way to another process, for the check that a saved model lives on there.

    python -m sensorium.testing.transport FOLDER

reads `view.safetensors`, `view.json`, `model.json` and `state.safetensors` in the folder, and writes
`scores.safetensors`.
"""

from __future__ import annotations

import sys
from functools import reduce
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sensorium.core.config import build
from sensorium.core.files import read_json, read_safetensors, write_json, write_safetensors
from sensorium.data.dataset import Features
from sensorium.data.view import TrainView
from sensorium.testing.subject import all_scores


def save_view(view: TrainView, folder: Path) -> None:
    """Write a view to a folder."""
    tensors: dict[str, Tensor] = {"user": torch.from_numpy(view.user), "item": torch.from_numpy(view.item)}
    if view.timestamp is not None:
        tensors["timestamp"] = torch.from_numpy(view.timestamp)
    for place, features in enumerate(view.features.values()):
        tensors[f"features.{place}"] = torch.from_numpy(features.x)
        tensors[f"present.{place}"] = torch.from_numpy(features.present)
    for place, (values, _) in enumerate(view.attributes.values()):
        tensors[f"attribute.{place}"] = torch.from_numpy(values)
    write_safetensors(folder / "view.safetensors", tensors, None)
    facts: dict[str, Any] = {
        "n_users": view.n_users,
        "n_items": view.n_items,
        "seed": view.seed,
        "features": list(view.features),
        "attributes": {name: classes for name, (_, classes) in view.attributes.items()},
    }
    write_json(folder / "view.json", facts)


def load_view(folder: Path) -> TrainView:
    """Read a view that `save_view` wrote."""
    arrays = {name: tensor.numpy() for name, tensor in read_safetensors(folder / "view.safetensors").items()}
    facts = read_json(folder / "view.json")
    return TrainView(
        n_users=facts["n_users"],
        n_items=facts["n_items"],
        user=arrays["user"],
        item=arrays["item"],
        timestamp=arrays.get("timestamp"),
        seed=facts["seed"],
        features={
            name: Features(arrays[f"features.{place}"], arrays[f"present.{place}"])
            for place, name in enumerate(facts["features"])
        },
        attributes={
            name: (arrays[f"attribute.{place}"], classes)
            for place, (name, classes) in enumerate(facts["attributes"].items())
        },
    )


def main(folder: Path) -> None:
    """Load the model of a folder and write its scores."""
    facts = read_json(folder / "model.json")
    cls: Any = reduce(getattr, facts["class"].split("."), import_module(facts["module"]))
    model = cls(load_view(folder), build(cls.Config, facts["config"], source="model.json"))
    model.load_state_dict(read_safetensors(folder / "state.safetensors"))
    write_safetensors(folder / "scores.safetensors", {"scores": all_scores(model).contiguous()}, None)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
