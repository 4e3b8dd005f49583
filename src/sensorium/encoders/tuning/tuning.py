"""Which parameters of an encoder train, and what is put into it.

frozen    none
top_k     the last k blocks and the final norm
houlsby   two bottlenecks per block, behind the attention's output map and behind the feed-forward part, before the
          residual sum (Houlsby et al. 2019): x + W_up relu(W_down x + b) + b', 2 D h + h + D parameters each
lora      low-rank terms on query and value (Hu et al. 2022), by peft: 2 x layers x r x (d_in + d_out) parameters;
          they start at zero, so that the first output is the frozen encoder's bit for bit
bitfit    all biases, those of norms included (Ben Zaken et al. 2022)
full      all
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn

from sensorium.core.errors import ConfigError, require
from sensorium.encoders.tuning.parts import blocks_of, final_norms, targets

Tune = Literal["frozen", "top_k", "houlsby", "lora", "bitfit", "full"]

_UNUSED = ("predictor.", "pooler.", "mask_token", "masked_spec_embed")  # parameters that no vector depends on


@dataclass
class Tuned:
    """A module and what of it trains.

    Attributes:
        module: The module, changed in place.
        tune: How.
        active: The parts that are in training mode while the tower is: dropout works in these alone.
    """

    module: nn.Module
    tune: Tune
    active: list[nn.Module] = field(default_factory=list)

    def parameters(self) -> list[nn.Parameter]:
        """Return what trains."""
        return [value for value in self.module.parameters() if value.requires_grad]

    def train(self, mode: bool) -> None:
        """Put the active parts into training mode, and everything else into evaluation mode."""
        self.module.eval()
        for part in self.active:
            part.train(mode)


class Bottleneck(nn.Module):
    """x + W_up act(W_down x + b_down) + b_up, D -> h -> D; weights N(0, .01^2), biases 0: it starts near identity."""

    def __init__(self, width: int, hidden: int, like: Tensor) -> None:
        super().__init__()
        self.down = nn.Linear(width, hidden, device=like.device, dtype=like.dtype)
        self.up = nn.Linear(hidden, width, device=like.device, dtype=like.dtype)
        for part in (self.down, self.up):
            nn.init.normal_(part.weight, 0.0, 0.01)
            nn.init.zeros_(part.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return the adapted states, of the shape of x, [..., D]."""
        adapted: Tensor = x + self.up(torch.relu(self.down(x)))
        return adapted


class Adapted(nn.Module):
    """A linear map with a bottleneck behind it, in its place."""

    def __init__(self, linear: nn.Linear, hidden: int) -> None:
        super().__init__()
        self.linear = linear
        self.adapter = Bottleneck(linear.out_features, hidden, linear.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return the adapted output of the map."""
        adapted: Tensor = self.adapter(self.linear(x))
        return adapted


def tune_module(
    module: nn.Module, tune: Tune, *, top_k: int = 2, bottleneck: int = 64, rank: int = 8, alpha: int = 16
) -> Tuned:
    """Choose what trains, and put in what the choice needs.

    Args:
        module: An encoder; it is changed in place.
        tune: See the module's page.
        top_k: Blocks that train, for "top_k".
        bottleneck: h, for "houlsby".
        rank: r, for "lora".
        alpha: Scale of the low-rank terms times r, for "lora".

    Raises:
        ConfigError: The module has nothing that could train in this way.
    """
    module.eval().requires_grad_(False)
    if tune == "top_k":
        blocks = blocks_of(module)
        if not 1 <= top_k <= len(blocks):
            raise ConfigError(
                f"top_k: {type(module).__name__} has {len(blocks)} blocks, and {top_k} of them cannot train"
            )
        parts = [block.module for block in blocks[-top_k:]] + final_norms(module, blocks)
        for part in parts:
            part.requires_grad_(True)
        return Tuned(module, tune, parts)
    if tune == "houlsby":
        _adapt(module, bottleneck)
    elif tune == "lora":
        _add_lora(module, rank, alpha)
    elif tune == "bitfit":
        for name, value in _used(module):
            value.requires_grad_(name.endswith("bias"))
    elif tune == "full":
        for _, value in _used(module):
            value.requires_grad_(True)
        return Tuned(module, tune, [module])
    if tune != "frozen" and not any(value.requires_grad for value in module.parameters()):
        raise ConfigError(f"{type(module).__name__} has nothing that '{tune}' trains")
    return Tuned(module, tune)


def _used(module: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [
        (name, value)
        for name, value in module.named_parameters()
        if not any(part in name for part in _UNUSED) and (value.is_floating_point() and "embed_positions" not in name)
    ]


def _adapt(module: nn.Module, hidden: int) -> None:
    blocks = blocks_of(module)
    places = [(block, own) for block in blocks for own in (block.attention_out, block.feed_out)]
    if not all(own for _, own in places):
        raise ConfigError(
            f"{type(module).__name__} has no linear maps behind attention and feed-forward parts: "
            "Houlsby adapters have no place in it"
        )
    for block, own in places:
        parent, _, leaf = own.rpartition(".")
        holder = block.module.get_submodule(parent) if parent else block.module
        linear = getattr(holder, leaf)
        adapted = Adapted(linear, hidden)
        setattr(holder, leaf, adapted)
        adapted.adapter.requires_grad_(True)


def _add_lora(module: nn.Module, rank: int, alpha: int) -> None:
    peft = require("peft", extra="encoders", purpose="tune: lora", instead="choose tune: houlsby or bitfit")
    options = peft.LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=0.0, bias="none", target_modules=targets(module), init_lora_weights=True
    )
    peft.inject_adapter_in_model(options, module)
