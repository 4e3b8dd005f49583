"""Typed configs: a pydantic model nested in the class that it configures, and errors that name key, file and way out.

A configuration file is a tree of plain values. `load_yaml` reads it, `apply_overrides` changes single keys, `build`
checks all of it against a `Config` class before any work starts. A field annotated with
`component("sensorium.recommenders")` holds `{name: lightgcn, ...}`: the name picks a registered class, the other keys
are checked against that class's own nested `Config`, to any depth.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError
from pydantic_core import PydanticUndefined, core_schema

from sensorium.core import registry
from sensorium.core.errors import ConfigError, UnknownNameError
from sensorium.core.registry import nearest

__all__ = [
    "Component",
    "Config",
    "KeyDescription",
    "apply_overrides",
    "build",
    "component",
    "describe",
    "dump",
    "load_yaml",
    "nearest",
]


class Config(BaseModel):
    """Base of every config: unknown keys are refused, values are frozen, defaults are checked too.

    Give each field a description: `sensorium config show` prints it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, protected_namespaces=())


C = TypeVar("C", bound=Config)


class NoOptions(Config):
    """The config of a registered object that has none of its own."""


# --- reading --------------------------------------------------------------------------------------------------------


class _Loader(yaml.SafeLoader):
    """YAML as people mean it: `1e-3` is a number, `no` and `1:30` are text, a key that stands twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if key in seen:
                raise ConfigError(f"key '{key}' stands twice, on lines {seen[key]} and {line}: keep one")
            seen[key] = line
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        return mapping


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in [
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+0123456789.",
    ),
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
]:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), list(_first))


def _parse(text: str | bytes, source: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of the safe loader
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{source}{where}: not valid YAML: {getattr(error, 'problem', None) or error}") from None


def load_yaml(path: str | Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping.

    Raises:
        ConfigError: The file is missing, is not YAML, is not a mapping, or has a key twice.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    tree = _parse(content, str(path))
    if not isinstance(tree, dict):
        raise ConfigError(
            f"{path}: a configuration is a mapping of keys to values, this file holds {type(tree).__name__}"
        )
    return tree


def apply_overrides(tree: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """Return a copy of the tree with `key.path=value` settings applied; values are read as YAML.

    Raises:
        ConfigError: A setting without "=", or a path that leads through a value that has no keys.
    """
    result: dict[str, Any] = _copy(tree)
    for setting in overrides:
        path, separator, text = setting.partition("=")
        keys = path.strip().split(".")
        if not separator or not all(keys):
            raise ConfigError(f"--set {setting}: write key.path=value, for example --set model.dim=128")
        node = result
        for depth, key in enumerate(keys[:-1]):
            child = node.setdefault(key, {})
            if isinstance(child, str) and isinstance(node, dict):  # `model: bpr` is short for `model: {name: bpr}`
                child = node[key] = {"name": child}
            if not isinstance(child, dict):
                raise ConfigError(f"--set {setting}: {'.'.join(keys[: depth + 1])} is {child!r}, which has no keys")
            node = child
        node[keys[-1]] = _parse(text, f"--set {setting}")
    return result


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(child) for key, child in value.items()}
    return [_copy(child) for child in value] if isinstance(value, list | tuple) else value


# --- components -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Component:
    """A registered object that a config chose: its name, its checked config, and the object itself."""

    group: str
    name: str
    config: Config

    @property
    def target(self) -> Any:
        """The registered class or function."""
        return registry.get(self.group, self.name)

    def tree(self) -> dict[str, Any]:
        """Return `{name: ..., **config}`, as it stands in a file."""
        return {"name": self.name, **dump(self.config)}


class _NestedError(ValueError):
    """Problems found inside a component; `build` puts the outer path before theirs."""

    def __init__(self, problems: list[_Problem]) -> None:
        super().__init__("component")
        self.problems = problems


@dataclass(frozen=True)
class _ComponentField:
    """The pydantic side of `component(group)`."""

    group: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.check,
            serialization=core_schema.plain_serializer_function_ser_schema(lambda value: value.tree()),
        )

    def check(self, value: Any) -> Component:
        if isinstance(value, Component):
            return value
        if isinstance(value, str):
            value = {"name": value}
        if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
            raise _NestedError(
                [_Problem(("name",), f"missing: which of {self.group.rpartition('.')[2]}? ({_known(self.group)})")]
            )
        try:
            target = registry.get(self.group, value["name"])
        except UnknownNameError as error:
            raise _NestedError([_Problem(("name",), str(error))]) from None
        cls: type[Config] = getattr(target, "Config", NoOptions)
        tree = {key: child for key, child in value.items() if key != "name"}
        config, problems = _validate(cls, tree)
        if config is None:
            raise _NestedError(problems)
        return Component(self.group, value["name"], config)


def component(group: str) -> Any:
    """Return the annotation of a field that holds a registered object: `model: component("sensorium.recommenders")`."""
    return Annotated[Component, _ComponentField(group)]


def _known(group: str) -> str:
    return ", ".join(registry.names(group)) or "none is registered"


# --- checking -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Problem:
    path: tuple[str, ...]
    message: str
    unknown: bool = False


def build(cls: type[C], tree: Mapping[str, Any] | C, *, source: str, prefix: str = "", hints: Iterable[str] = ()) -> C:
    """Check a tree of plain values against a config class.

    Args:
        cls: The config class.
        tree: The values, or a config of that class, which is returned as it is.
        source: Where they come from, for messages: a file name, or "--set".
        prefix: The path of this tree in its file ("model"), put before every key in messages.
        hints: More full key paths that exist in the same file, to point at when a key stands in the wrong place.

    Raises:
        ConfigError: One line: the source, the full path of the first wrong key, what is wrong, and the nearest right
            key.
    """
    if isinstance(tree, cls):
        return tree
    config, problems = _validate(cls, tree)
    if config is not None:
        return config
    before = tuple(prefix.split(".")) if prefix else ()
    valid = [".".join((*before, *path)) for path in _paths(cls, tree)] + list(hints)
    lines = [
        _sentence(_Problem(before + problem.path, problem.message, problem.unknown), valid) for problem in problems
    ]
    more = f" (and {len(lines) - 1} more: {'; '.join(lines[1:4])})" if len(lines) > 1 else ""
    raise ConfigError(f"{source}: {lines[0]}{more}")


def _validate(cls: type[C], tree: Any) -> tuple[C | None, list[_Problem]]:
    """Return the config, or None and what is wrong, unknown keys first: they explain the rest."""
    try:
        return cls.model_validate(tree), []
    except ValidationError as error:
        problems = [problem for entry in error.errors(include_url=False) for problem in _problems(entry)]
        return None, sorted(problems, key=lambda problem: not problem.unknown)


def _problems(entry: Any) -> Iterator[_Problem]:
    path = tuple(str(part) for part in entry["loc"])
    cause = entry.get("ctx", {}).get("error")
    if isinstance(cause, _NestedError):
        for problem in cause.problems:
            yield _Problem(path + problem.path, problem.message, problem.unknown)
    elif entry["type"] == "extra_forbidden":
        yield _Problem(path, "unknown key", unknown=True)
    elif entry["type"] == "missing":
        yield _Problem(path, "this key is required")
    elif cause is not None:  # a validator of ours raised a sentence
        yield _Problem(path, str(cause))
    else:
        message = entry["msg"][0].lower() + entry["msg"][1:]
        yield _Problem(path, f"{message}, got {entry['input']!r}" if path else message)


def _sentence(problem: _Problem, valid: list[str]) -> str:
    path = ".".join(problem.path)
    if not problem.unknown:
        return f"{path}: {problem.message}" if path else problem.message
    elsewhere = [key for key in valid if key.rpartition(".")[2] == problem.path[-1] and key != path]
    close = elsewhere[0] if elsewhere else nearest(path, valid) or _sibling(problem.path, valid)
    return f"{path}: unknown key" + (
        f"; did you mean {close}?" if close else f" (known here: {_siblings(problem.path, valid)})"
    )


def _sibling(path: tuple[str, ...], valid: list[str]) -> str | None:
    """Return the key of the same level whose last part is nearest."""
    level = {key.rpartition(".")[2]: key for key in valid if key.rpartition(".")[0] == ".".join(path[:-1])}
    close = nearest(path[-1], level)
    return level[close] if close else None


def _siblings(path: tuple[str, ...], valid: list[str]) -> str:
    parent = ".".join(path[:-1])
    return ", ".join(key.rpartition(".")[2] for key in valid if key.rpartition(".")[0] == parent) or "none"


def _paths(cls: type[BaseModel], tree: Any) -> Iterator[tuple[str, ...]]:
    """Walk every key path that a file of this class may hold; components are followed as the tree names them."""
    for name, field in cls.model_fields.items():
        yield (name,)
        child = tree.get(name) if isinstance(tree, Mapping) else None
        nested = _nested_config(field.annotation)
        group = next((mark.group for mark in field.metadata if isinstance(mark, _ComponentField)), None)
        if group is not None:
            chosen = {"name": child} if isinstance(child, str) else child if isinstance(child, Mapping) else {}
            yield (name, "name")
            if chosen.get("name") in registry.entries(group):
                target = registry.get(group, chosen["name"])
                for path in _paths(getattr(target, "Config", NoOptions), chosen):
                    yield (name, *path)
        elif nested is not None and get_origin(field.annotation) is dict:
            for key, value in child.items() if isinstance(child, Mapping) else ():
                for path in _paths(nested, value):
                    yield (name, str(key), *path)
        elif nested is not None:
            for path in _paths(nested, child):
                yield (name, *path)


def _nested_config(annotation: Any) -> type[BaseModel] | None:
    """Return the config class inside an annotation such as `Config`, `Config | None` or `dict[str, Config]`."""
    for candidate in (annotation, *get_args(annotation)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


# --- showing --------------------------------------------------------------------------------------------------------


def dump(config: Config) -> dict[str, Any]:
    """Return a config as a complete tree of plain values, all defaults included, that `build` accepts again."""
    tree: dict[str, Any] = config.model_dump(mode="json")
    return tree


def to_yaml(tree: Mapping[str, Any]) -> str:
    """Return a tree as YAML text, keys in their order."""
    return yaml.safe_dump(dict(tree), sort_keys=False, allow_unicode=True, default_flow_style=False)


@dataclass(frozen=True)
class KeyDescription:
    """One key of a config, for `sensorium config show`."""

    path: str
    type: str
    default: str
    meaning: str


def describe(cls: type[BaseModel], prefix: str = "") -> list[KeyDescription]:
    """List every key of a config class with its type, default and meaning, nested ones by their full path."""
    rows: list[KeyDescription] = []
    for name, field in cls.model_fields.items():
        path = f"{prefix}{name}"
        nested = _nested_config(field.annotation)
        if nested is not None:
            rows += describe(nested, f"{path}.<name>." if get_origin(field.annotation) is dict else f"{path}.")
            continue
        group = next((mark.group for mark in field.metadata if isinstance(mark, _ComponentField)), None)
        kind = f"one of {group.rpartition('.')[2]}" if group else _type_name(field.annotation)
        default = field.get_default(call_default_factory=True) if not field.is_required() else PydanticUndefined
        shown = (
            "required"
            if default is PydanticUndefined
            else default.name
            if isinstance(default, Component)
            else repr(default)
        )
        rows.append(KeyDescription(path, kind, shown, field.description or ""))
    return rows


def _type_name(annotation: Any) -> str:
    """Return a type as people read it: `int | None`, `adam | sgd` for a choice of words, `list[str]`."""
    arguments = get_args(annotation)
    if get_origin(annotation) is Literal:
        return " | ".join(map(str, arguments))
    if get_origin(annotation) in (Union, UnionType):
        return " | ".join(map(_type_name, arguments))
    if annotation is NoneType:
        return "null"
    return annotation.__name__ if isinstance(annotation, type) and not arguments else str(annotation)
