"""What an encoder consists of, found by looking at it: blocks, attention projections, final norms.

Names differ between families and versions (`query`, `q`, `q_proj`; transformers 5 renamed many), so nothing here is a
list of models. An attention is a module that holds linear maps for query, key and value; the block that holds one is an
element of a module list.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from sensorium.core.errors import ConfigError

_QUERY, _KEY, _VALUE = ("query", "q_proj", "q"), ("key", "k_proj", "k"), ("value", "v_proj", "v")
_ASIDE = ("predictor", "decoder", "pooler", "head")  # parts of a model that no state passes through


@dataclass(frozen=True)
class Block:
    """One block.

    Attributes:
        name: Its place in the module, dotted.
        module: The block.
        query: Name of its query projection below the block; "" where it has none.
        value: Likewise.
        attention_out: Name of the linear map behind its attention.
        feed_out: Name of the last linear map of its feed-forward part.
    """

    name: str
    module: nn.Module
    query: str = ""
    value: str = ""
    attention_out: str = ""
    feed_out: str = ""


def blocks_of(module: nn.Module) -> list[Block]:
    """Return the blocks in order: of transformers those that hold one attention, of other networks their stages.

    Raises:
        ConfigError: The module has no list of blocks.
    """
    lists = [
        (name, own)
        for name, own in module.named_modules()
        if isinstance(own, nn.ModuleList) and len(own) and not _aside(name)
    ]
    described = {name: [_describe(f"{name}.{place}", block) for place, block in enumerate(own)] for name, own in lists}
    holding = [name for name, blocks in described.items() if all(block.query for block in blocks)]
    inner = [name for name in holding if not any(other.startswith(f"{name}.") for other in holding)]
    if inner:  # a stage of one block holds one attention, too: its blocks are meant
        return [block for name in inner for block in described[name]]
    if not lists:
        raise ConfigError(f"{type(module).__name__} has no blocks: only tune frozen, bitfit and full work with it")
    name, own = lists[0]
    return [Block(f"{name}.{place}", block) for place, block in enumerate(own)]


def _describe(name: str, block: nn.Module) -> Block:
    """Look at one element of a list; it is a block of a transformer if it holds one query projection."""
    linear = {own: part for own, part in block.named_modules() if isinstance(part, nn.Linear)}
    queries = [own for own in linear if _leaf(own) in _QUERY]
    values = [own for own in linear if _leaf(own) in _VALUE]
    if len(queries) != 1 or len(values) != 1:
        return Block(name, block)
    attention = queries[0].split(".")[0]
    inside = [own for own in linear if own.split(".")[0] == attention and _leaf(own) not in (*_QUERY, *_KEY, *_VALUE)]
    outside = [own for own in linear if own.split(".")[0] != attention]
    return Block(
        name,
        block,
        queries[0],
        values[0],
        inside[-1] if inside else "",
        outside[-1] if outside else "",
    )


def final_norms(module: nn.Module, blocks: list[Block]) -> list[nn.Module]:
    """Return the norms that stand behind the last block."""
    behind, found = False, []
    for name, part in module.named_modules():
        if name == blocks[-1].name:
            behind = True
        inside = name.startswith(blocks[-1].name + ".")
        if behind and not inside and not _aside(name) and "Norm" in type(part).__name__:
            found.append(part)
    return found


def targets(module: nn.Module) -> list[str]:
    """Return the full names of all query and value projections.

    Raises:
        ConfigError: There are none.
    """
    found = [
        f"{block.name}.{part}" for block in blocks_of(module) if block.query for part in (block.query, block.value)
    ]
    if not found:
        raise ConfigError(
            f"{type(module).__name__} has no linear query and value projections: LoRA has no target in it"
        )
    return found


def _leaf(name: str) -> str:
    return name.rsplit(".", 1)[-1]


def _aside(name: str) -> bool:
    return any(part in _ASIDE for part in name.split("."))
