"""The boundary cache of top-k tuning: the frozen blocks below are computed once for the whole catalogue.

With `top_k`, everything below the last k blocks is frozen, in evaluation mode and free of chance, so that its output
for an item never changes. It is stored once, as tokens of one layer (`boundary.layer`), and training starts from there:
the same gradients as from the raw content, without the lower blocks.

    boundary = Boundary(tower)
    states, mask = boundary.capture(batch)            # what the cache holds, [b, n, D], bool [b, n]
    vectors = boundary.vectors(states, mask)          # float32 [b, dim]; equals the tower's own

The model runs as it always does, with its lower blocks passing on what they are given, and the cached states put in
front of the first block that trains: masks and positions stay the model's own affair.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sensorium.core.errors import ConfigError
from sensorium.encoders.tuning.parts import Block, blocks_of
from sensorium.encoders.tuning.tower import Tower


class Boundary:
    """Training of a `top_k` tower from stored states.

    Attributes:
        layer: Index into the hidden states that is stored: the input of the first block that trains.
    """

    def __init__(self, tower: Tower) -> None:
        """Find the boundary.

        Raises:
            ConfigError: The tower is not tuned by top_k, or its encoder has no uniform blocks, or reads several
                pieces per item, or is the text encoder of CLIP or SigLIP (see `_by_ids`).
        """
        if tower.tuned.tune != "top_k":
            raise ConfigError(f"a boundary cache is for tune: top_k, not for {tower.tuned.tune}")
        self.tower, self.encoder = tower, tower.encoder
        self.blocks: list[Block] = blocks_of(self.encoder.module)
        modality = self.encoder.card.modality
        if reason := _by_ids(self.encoder):
            raise ConfigError(f"{self.encoder.card.name} cannot be trained from a boundary cache, {reason}")
        uniform = all(block.query for block in self.blocks) and len(self.blocks) + 1 == len(self.encoder.layers)
        if not uniform or modality not in ("text", "image"):
            raise ConfigError(
                f"{self.encoder.card.name} has no boundary that could be stored: train it without a cache"
            )
        active = {id(part) for part in tower.tuned.active}
        self.layer = next(place for place, block in enumerate(self.blocks) if id(block.module) in active)

    def capture(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return what is stored of a batch: states float32 [b, n, D], and which tokens are content, bool [b, n]."""
        states, mask = self.encoder.tokens(batch, self.layer)
        return states.clone(), mask.clone()  # out of inference mode: they enter a graph

    def vectors(self, states: Tensor, mask: Tensor) -> Tensor:
        """Return the tower's vectors from stored states, float32 [b, dim], with gradients for what trains."""
        device = next(self.encoder.module.parameters()).device
        states, mask = states.to(device, torch.float32), mask.to(device)
        with ExitStack() as stack:
            for block in self.blocks[: self.layer]:
                stack.enter_context(_passing(block.module))
            stack.enter_context(_given(self.blocks[self.layer].module, states))
            embedded = self.tower.embed(self._stand_in(states, mask))
        vectors: Tensor = self.tower.head(embedded)
        return vectors

    def _stand_in(self, states: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Return a batch of the right size, whose content is of no importance."""
        if self.encoder.card.modality == "text":
            ids = torch.zeros(mask.shape, dtype=torch.int64, device=mask.device)
            return {"input_ids": ids, "attention_mask": mask.to(torch.int64), "token_type_ids": ids}
        size = self.encoder.preparer.facts["size"]
        return {"pixels": torch.zeros((len(states), 3, *size), device=states.device)}


def _by_ids(encoder: object) -> str:
    """Return why stored states of a text are not enough for an encoder; "" where they are.

    CLIP's text encoder takes its vector where the end-of-text id stands, and a cache holds no ids. SigLIP's runs
    without a mask and takes its vector from the last position, which is padding; a cache holds content alone.
    """
    return {
        "CLIPTextModel": "which holds no token ids: CLIP's text vector is read where the id of the text's end stands; "
        "train it without one",
        "SiglipTextModel": "which holds no padding: SigLIP's text vector is read from the last position, padding "
        "included; train it without one",
    }.get(getattr(getattr(encoder, "family", None), "cls", ""), "")


@contextmanager
def _passing(block: nn.Module) -> Iterator[None]:
    """Make a block hand on what it is given, in the form in which it returns."""
    block.forward = _Passing(block)
    try:
        yield
    finally:
        del block.forward


class _Passing:
    """A forward that returns its first argument; a tuple where the block's own does."""

    def __init__(self, block: nn.Module) -> None:
        self.tuple = _returns_tuple(block)

    def __call__(self, *given: Any, **named: Any) -> Any:
        hidden = given[0] if given else named["hidden_states"]
        return (hidden,) if self.tuple else hidden


def _returns_tuple(block: nn.Module) -> bool:
    """Whether a block says that it returns a tuple."""
    import inspect
    import typing

    said = inspect.signature(type(block).forward).return_annotation
    text = said if isinstance(said, str) else str(said)
    return said is tuple or typing.get_origin(said) is tuple or text.startswith("tuple")


@contextmanager
def _given(block: nn.Module, states: Tensor) -> Iterator[None]:
    """Put stored states in front of a block."""

    def replace(_: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if given:
            return (states, *given[1:]), named
        return given, {**named, "hidden_states": states}

    handle = block.register_forward_pre_hook(replace, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
