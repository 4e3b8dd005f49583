"""Towers over encoders: e_i = act(W (z_i - mu) / sigma + b), z_i [P] what an encoder, or its stored states, say of i.

mu [P] and sigma (one number for each encoder or layer) are measured once, over items that training shows and that have
content, by the weights that training begins with; they are part of the state, as is what trains of the encoder. What
does not train is not: it comes from where the encoder's weights are, and a digest in the state says which they were.

An item without usable content has z = mu, so that its vector is act(b). Without gradients an item is encoded once for
as long as the weights stay; an encoder that does not train encodes every item once for a whole training. That is done
in fixed groups of neighbouring ids, so that which items are asked for, and when, changes no bit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from sensorium.core.errors import DataError, ResourceError
from sensorium.core.resources import require_memory
from sensorium.nn.tokens import PADDING, from_tokens
from sensorium.recommenders.base import Versions, versions
from sensorium.recommenders.towers.base import Draw, Tower, projection
from sensorium.training.config import GroupOverrides

Activation = Literal["none", "gelu"]
Scaling = Literal["standardise", "none"]

TRAINS_WITHOUT_DECAY = {"encoder": GroupOverrides(weight_decay=0.0)}
"""Of the group of what trains in encoders, where a configuration says nothing (MicroLens' code): decay would pull
weights that were trained elsewhere away from what they know."""

GROUP = 64
"""Items that are encoded together where nothing trains."""


class EncoderTower(Tower):
    """What all towers over encoders share. A subclass provides `encode`.

    Attributes:
        body: The encoder with what trains in it; None where nothing does and nothing is computed.
        reading: Which of an encoder's states are read and how they were made, in words, where the configuration of the
            model does not say it all.
    """

    costly = True
    of_catalogue = ("mean", "sigma", "measured", "contents")
    reading = ""

    mean: Tensor
    sigma: Tensor
    measured: Tensor
    weights: Tensor
    contents: Tensor

    def __init__(
        self,
        widths: Sequence[int],
        shown: npt.NDArray[np.bool_],
        width: int,
        draw: Draw,
        name: str,
        *,
        activation: Activation = "none",
        scaling: Scaling = "none",
        weights: str = "",
        contents: str = "",
    ) -> None:
        """Make the head.

        Args:
            widths: Of the parts of z, each with a sigma of its own; P is their sum.
            shown: bool [I], items that training shows.
            width: d.
            draw: Of the first values.
            name: Of this tower among others, for the draw and for messages.
            activation: Behind the linear layer.
            scaling: "standardise" measures mu and sigma; "none" takes 0 and 1.
            weights: What tells the encoder's weights from others, such as their SHA-256.
            contents: What tells the items' content from other content.
        """
        super().__init__()
        self.width, self.name, self.activation, self.scaling = width, name, activation, scaling
        self._widths, self._shown = list(widths), torch.from_numpy(shown)
        self.linear = projection(sum(widths), width, draw(f"tower.{name}"))
        self.register_buffer("mean", torch.zeros(sum(widths)))
        self.register_buffer("sigma", torch.ones(sum(widths)))
        self.register_buffer("measured", torch.tensor(scaling == "none"))
        for part, value in (("weights", weights), ("contents", contents)):
            code = hashlib.blake2b(value.encode(), digest_size=16).digest()
            self.register_buffer(part, torch.tensor(list(code), dtype=torch.uint8))
        self.body: nn.Module | None = None
        self._derived: frozenset[str] = frozenset()
        self._table: Tensor | None = None  # [I, P]
        self._made_of: Versions = ()  # the weights that the table is of
        self.register_state_dict_post_hook(_leave_out)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_pre_hook(_put_in)  # type: ignore[no-untyped-call]

    # --- what a subclass says -----------------------------------------------------------------------------------------

    def encode(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Return z of items and which of them have content.

        Args:
            items: int64 [n], distinct, ascending.

        Returns:
            [n, P], with gradients for what trains, and bool [n]. Rows without content are never read.
        """
        raise NotImplementedError

    def hold(self, body: nn.Module, active: Sequence[nn.Module]) -> None:
        """Take the encoder as a part of this tower.

        Args:
            body: The encoder; parameters that train say so by `requires_grad`.
            active: The parts of it that are in training mode while the tower is.
        """
        self.body = body
        moving = {id(buffer) for part in active for buffer in part.buffers()}
        trains = {name for name, value in body.named_parameters() if value.requires_grad}
        trains |= {name for name, buffer in body.named_buffers() if id(buffer) in moving}
        self._derived = frozenset(f"body.{name}" for name in body.state_dict() if name not in trains)

    def set_mode(self, training: bool) -> None:
        """Put what trains of the encoder into training mode, and the rest into evaluation mode."""

    def encoder_parameters(self) -> list[nn.Parameter]:
        """Return what trains in the encoder; the head is no part of it."""
        return [] if self.body is None else [value for value in self.body.parameters() if value.requires_grad]

    @property
    def frozen(self) -> bool:
        """Whether nothing of the encoder trains."""
        return not self.encoder_parameters()

    # --- vectors ------------------------------------------------------------------------------------------------------

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the vectors of tokens int64 [n]: float32 [n, d]; each distinct item is encoded once."""
        if not self.measured:
            self._measure()
        distinct, place = torch.unique(tokens, return_inverse=True)
        there = distinct != PADDING
        z, present = self._embedded(from_tokens(distinct[there]))
        scaled = ((z - self.mean) / self.sigma).masked_fill(~present.unsqueeze(-1), 0)
        found: Tensor = self.linear(scaled)
        if self.activation == "gelu":
            found = functional.gelu(found)
        vectors = found.new_zeros(len(distinct), self.width)
        vectors[there] = found
        return vectors[place]

    def train(self, mode: bool = True) -> Self:
        """Switch between training and evaluation; what is remembered of weights that train is dropped."""
        changes = mode or self.training
        super().train(mode)
        self.set_mode(mode)
        if changes and not self.frozen:
            self._forget()
        return self

    def _embedded(self, items: Tensor) -> tuple[Tensor, Tensor]:
        if not self.frozen and (self.training or torch.is_grad_enabled()):
            try:
                return self.encode(items)
            except torch.OutOfMemoryError as error:
                raise ResourceError(
                    f"encoding the {len(items):,} distinct items of a batch with gradients does not fit the device: "
                    f"lower training.batch_size, or set recompute: true for the encoder '{self.name}', or train less "
                    "of it (tune: lora, or top_k with fewer blocks)"
                ) from error
        return self._recalled(items)

    def _recalled(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """Return z of items without gradients, encoding the groups of those that are not remembered."""
        table, present, known = self._memory(items.device)
        groups = torch.unique(torch.div(items[~known[items]], GROUP, rounding_mode="floor"))
        with torch.no_grad(), torch.autocast(items.device.type, enabled=False), self._still():
            for group in groups.tolist():
                members = torch.arange(group * GROUP, min((group + 1) * GROUP, len(known)), device=items.device)
                z, there = self.encode(members)
                table[members], present[members], known[members] = z.float(), there, True
        return table[items], present[items]

    def _memory(self, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Return the table [I, P], which rows have content, and which are known; anew where weights have changed."""
        now = () if self.frozen or self.body is None else versions(self.body)
        if self._table is None or self._table.device != device or self._made_of != now:
            n_items = len(self._shown)
            require_memory(4 * n_items * sum(self._widths), f"the vectors of {n_items:,} items by {self.name}")
            self._table = torch.zeros(n_items, sum(self._widths), device=device)
            self._present = torch.zeros(n_items, dtype=torch.bool, device=device)
            self._known = torch.zeros(n_items, dtype=torch.bool, device=device)
            self._made_of = now
        return self._table, self._present, self._known

    def _forget(self) -> None:
        self._table, self._made_of = None, ()

    @contextmanager
    def _still(self) -> Iterator[None]:
        """Switch off what is drawn by chance in the encoder."""
        self.set_mode(False)
        try:
            yield
        finally:
            self.set_mode(self.training)

    def measure_anew(self) -> None:
        """Measure mu and sigma again, when vectors are next asked for: by the weights as they then are."""
        self.measured.fill_(self.scaling == "none")
        self._forget()

    def _measure(self) -> None:
        """Measure mu and sigma over items that training shows and that have content; of none, take 0 and 1."""
        items = torch.nonzero(self._shown).squeeze(1).to(self.mean.device)
        count = 0
        total = torch.zeros(len(self.mean), dtype=torch.float64, device=self.mean.device)
        square = torch.zeros(len(self._widths), dtype=torch.float64, device=self.mean.device)
        for part in torch.split(items, 16 * GROUP):
            z, present = self._recalled(part)
            z = z[present].double()
            count += len(z)
            total += z.sum(0)
            square += torch.stack([own.square().sum() for own in torch.split(z, self._widths, dim=1)])
        if count:
            mean = total / count
            middle = torch.stack([own.square().sum() for own in torch.split(mean, self._widths)])
            variance = (square / count - middle).clamp(min=0) / torch.tensor(self._widths, device=mean.device)
            sigma = torch.where(variance > 0, variance.sqrt(), torch.ones_like(variance))
            self.mean.copy_(mean)
            self.sigma.copy_(sigma.repeat_interleave(torch.tensor(self._widths, device=mean.device)))
        self.measured.fill_(True)
        if not self.frozen:
            self._forget()  # they are of the weights that are about to change


def encoder_towers(module: nn.Module) -> list[EncoderTower]:
    """Return the towers over encoders that a module holds."""
    return [part for part in module.modules() if isinstance(part, EncoderTower)]


def _leave_out(module: nn.Module, state: dict[str, Any], prefix: str, _: Any) -> None:
    """Take what does not train out of the state."""
    assert isinstance(module, EncoderTower)
    for name in module._derived:
        state.pop(prefix + name, None)


def _put_in(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Put what does not train into a state that is about to be loaded, if it is of the same weights and content."""
    assert isinstance(module, EncoderTower)
    for part, what in (("weights", "weights of the encoder"), ("contents", "content of the items")):
        kept, own = state.get(prefix + part), getattr(module, part)
        if kept is not None and not torch.equal(kept.cpu(), own.cpu()):
            raise DataError(
                f"the {what} that the tower '{module.name}' reads are not those that this state was trained with: "
                "bring them back, or start a new run"
            )
    own_state = {f"body.{name}": value for name, value in module.body.state_dict().items()} if module.body else {}
    for name in module._derived:
        state.setdefault(prefix + name, own_state[name])
    module._forget()
