"""No weight file can run code: `src/` never un-pickles, and one module alone may open a legacy file."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "sensorium"
LEGACY = "encoders/weights/legacy_torch.py"  # the conversion of `encoders prepare`
CONVERSION = "encoders/packaged/converters.py"
PICKLING = {"pickle", "_pickle", "pickletools", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
READ_PICKLES = {"torch.load", "torch.serialization", "torch.hub", "torch.jit.load", "torch.package"}


def names_of(tree: ast.AST) -> dict[str, str]:
    """What imported names of a module stand for, wherever they are imported."""
    known: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known |= {
                a.asname or a.name.split(".")[0]: a.name if a.asname else a.name.split(".")[0] for a in node.names
            }
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            known |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return known


def full_name(node: ast.AST, known: dict[str, str]) -> str:
    """The dotted name that an expression stands for, as "torch.load"; "" where it is none."""
    if isinstance(node, ast.Name):
        return known.get(node.id, "")
    if isinstance(node, ast.Attribute):
        base = full_name(node.value, known)
        return f"{base}.{node.attr}" if base else ""
    return ""


def imported(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def dangers(text: str) -> list[str]:
    """What could un-pickle in a module: imports, names that do, `np.load` unless it says allow_pickle=False."""
    tree = ast.parse(text)
    known = names_of(tree)
    found = [f"import {name}" for name in sorted(imported(tree)) if name.split(".")[0] in PICKLING]
    for node in ast.walk(tree):
        name = full_name(node, known) if isinstance(node, ast.Attribute | ast.Name) else ""
        if name in READ_PICKLES or name.endswith(".read_pickle"):
            found.append(name)
        if isinstance(node, ast.Call):
            allowed = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if full_name(node.func, known) == "numpy.load" and allowed.get("allow_pickle") != "False":
                found.append("numpy.load")
            elif allowed.get("allow_pickle", "False") != "False":
                found.append("allow_pickle")
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import pickle", ["import pickle"]),
        ("def f():\n    from pickle import loads", ["import pickle", "import pickle.loads"]),
        ("import torch\ntorch.load(1, weights_only=True)", ["torch.load"]),
        ("import torch as t\nread = t.load", ["torch.load"]),
        ("from torch import load\nload(1)", ["torch.load"]),
        ("from torch.jit import load as read\nread(1)", ["torch.jit.load"]),
        ("import numpy as np\nnp.load(1)", ["numpy.load"]),
        ("import numpy as np\nnp.load(1, allow_pickle=True)", ["numpy.load"]),
        ("import numpy as np\nnp.load(1, allow_pickle=False)", []),
        ("import onnx\nonnx.load(1)\nother.load(2)", []),
    ],
)
def test_what_would_be_found(text: str, expected: list[str]) -> None:
    assert dangers(text) == expected


def test_nothing_unpickles_but_the_one_module_that_may() -> None:
    texts = {path.relative_to(SOURCE).as_posix(): path.read_text("utf-8") for path in SOURCE.rglob("*.py")}
    assert len(texts) > 100
    words = {*PICKLING, "load"}  # nothing can be un-pickled without one of them: the other modules need no parsing
    spoken = {name: text for name, text in texts.items() if any(word in text for word in words)}
    found = {name: wrong for name, text in spoken.items() if (wrong := dangers(text))}
    assert found == {LEGACY: ["torch.load"]}
    calls = [
        {word.arg: ast.unparse(word.value) for word in node.keywords}
        for node in ast.walk(ast.parse(texts[LEGACY]))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load"
    ]
    assert [call["weights_only"] for call in calls] == ["True"]
    module = "sensorium." + LEGACY.removesuffix(".py").replace("/", ".")
    users = {
        name
        for name, text in texts.items()
        if "legacy_torch" in text and any(part.startswith(module) for part in imported(ast.parse(text)))
    }
    assert users == {CONVERSION}
