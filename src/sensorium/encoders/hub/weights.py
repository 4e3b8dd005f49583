"""Where the weights of a Hub encoder are: a folder, the Hub's cache on this machine, or the Hub itself (or a mirror).

Looked at in this order, without a connection unless one is needed:

1. a folder: `weights: FOLDER`, or an `id` that is one;
2. the Hub's cache (`HF_HOME`), where an earlier run or `hf download` left them;
3. the Hub, or the mirror that `HF_ENDPOINT` names, unless `HF_HUB_OFFLINE` is set.

Only safetensors are read. A repository that holds pickled weights alone (`.bin`) is refused: reading them runs what is
in them. So is one that wants its own code to be run. The hash of the weights is the SHA-256 of the file, as the Hub
states it; of several files, that of their hashes in order.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from sensorium.core.errors import DataError, require
from sensorium.core.files import read_json, sha256_file, write_json
from sensorium.core.home import cache_home

logger = logging.getLogger(__name__)

CONFIG = "config.json"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
SMALL = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
    "processor_config.json",
    "sentence_bert_config.json",
    "generation_config.json",
)
_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


@dataclass(frozen=True)
class Found:
    """The files of one model.

    Attributes:
        folder: Holds all of them.
        source: "hub", "path" or "random" (untrained weights, for tests).
        name: Hub id, or the folder.
        version: Commit of the Hub.
        files: The weight files, in order; empty for "random".
    """

    folder: Path
    source: Literal["hub", "path", "random"]
    name: str
    version: str | None
    files: tuple[Path, ...]

    def config(self) -> dict[str, Any]:
        """Return `config.json`."""
        return read_config(self.folder)


def find(name: str, identity: str, revision: str | None, weights: str, *, purpose: str = "") -> Found:
    """Locate the files; fetch them where they are not here and a connection is to be had.

    Args:
        name: Of the encoder, for messages.
        identity: Hub id or folder.
        revision: Branch, tag or commit; None: the main branch, or whichever commit of it is in the cache.
        weights: "auto", "hub", "random" (the config's shape, untrained) or a folder.
        purpose: What the weights are for, for messages.

    Raises:
        DataError: They are not here and cannot be fetched, or are refused.
    """
    folder = _folder(identity, weights)
    if folder is not None:
        if not folder.is_dir():
            raise DataError(f"{name}: {folder} is no folder of weights")
        return _in_folder(folder, "path", str(folder), None, random=weights == "random")
    if not identity or not _ID.fullmatch(identity):
        raise DataError(
            f"{name}: '{identity}' is neither a folder nor an id of the Hub (as in google/vit-base-patch16-224)"
        )
    snapshot = _cached(identity, revision) or _fetched(name, identity, revision, purpose)
    return _in_folder(snapshot, "hub", identity, snapshot.name, random=weights == "random")


def is_here(identity: str, revision: str | None, weights: str) -> bool:
    """Return whether `find` would succeed without a connection; reads no weights."""
    try:
        folder = _folder(identity, weights) or _cached(identity, revision)
        if folder is None or not folder.is_dir():
            return False
        _in_folder(folder, "path", str(folder), None, random=weights == "random")
    except DataError:
        return False
    return True


def why_not(identity: str, download_mb: float | None = None) -> str:
    """Return the sentence for weights that are not on this machine."""
    size = f" ({download_mb:,.0f} MB)" if download_mb else ""
    return f"needs weights of {identity}{size}, not in the Hub cache; run once online or pass a path (weights: FOLDER)"


def read_config(folder: Path) -> dict[str, Any]:
    """Return the config of a model; refuse one that wants its own code to be run.

    Raises:
        DataError: It is missing, damaged, or of a model whose code is not transformers' own.
    """
    content = read_json(folder / CONFIG)
    if not isinstance(content, dict) or not isinstance(content.get("model_type"), str):
        raise DataError(f"{folder / CONFIG} names no model_type: this is no model of transformers")
    return content


def weights_hash(found: Found) -> str:
    """Return the SHA-256 of the weights. What the Hub's cache or an earlier run states is believed; `verify` reads.

    Random weights have the hash of their config.
    """
    if found.source == "random":
        return hashlib.sha256(b"random" + (found.folder / CONFIG).read_bytes()).hexdigest()
    memo = cache_home() / "hub-hashes.json"
    known: dict[str, Any] = read_json(memo) if memo.is_file() else {}
    hashes, changed = [], False
    for file in found.files:
        target = file.resolve()
        if target.parent.name == "blobs" and re.fullmatch(r"[0-9a-f]{64}", target.name):
            hashes.append(target.name)
            continue
        stamp = [target.stat().st_size, target.stat().st_mtime_ns]
        entry = known.get(str(target))
        if not isinstance(entry, dict) or entry.get("stamp") != stamp:
            entry = known[str(target)] = {"stamp": stamp, "sha256": sha256_file(target)}
            changed = True
        hashes.append(str(entry["sha256"]))
    if changed:
        write_json(memo, known)
    return combined(hashes)


def verify(found: Found, expected: str) -> None:
    """Read the weight files and compare their hash before a model is built from them.

    Raises:
        DataError: They are others; the message has both hashes.
    """
    if found.source == "random":
        return
    actual = combined([sha256_file(file) for file in found.files])
    if actual != expected:
        raise DataError(
            f"the weights in {found.folder} have the SHA-256 {actual}, expected {expected}: "
            "they are damaged or have been exchanged; fetch them again"
        )


def combined(hashes: list[str]) -> str:
    """Return the hash of one file, or of several by their hashes."""
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


# --- folders --------------------------------------------------------------------------------------------------------


def _folder(identity: str, weights: str) -> Path | None:
    if weights not in ("auto", "hub", "random"):
        return Path(weights).expanduser()
    folder = Path(identity).expanduser()
    return folder if identity and weights != "hub" and folder.is_dir() else None


def _in_folder(folder: Path, source: Literal["hub", "path"], name: str, version: str | None, *, random: bool) -> Found:
    read_config(folder)
    if random:
        return Found(folder, "random", name, None, ())
    if (folder / WEIGHTS).is_file():
        return Found(folder, source, name, version, (folder / WEIGHTS,))
    if (folder / INDEX).is_file():
        parts = _parts(read_json(folder / INDEX), folder / INDEX)
        missing = [part for part in parts if not (folder / part).is_file()]
        if missing:
            raise DataError(f"{folder} lacks {', '.join(missing)}, which {INDEX} names")
        return Found(folder, source, name, version, tuple(folder / part for part in parts))
    raise DataError(_no_safetensors(name, [path.name for path in folder.iterdir()]))


def _parts(index: Any, where: str | Path) -> list[str]:
    """Return the names of the weight files that an index lists; none may lead out of the folder."""
    names = sorted(set((index.get("weight_map") or {}).values())) if isinstance(index, dict) else []
    if not names or any("/" in part or not part.endswith(".safetensors") for part in names):
        raise DataError(f"{where} does not list files of weights")
    return names


def _no_safetensors(name: str, files: Iterable[str]) -> str:
    pickled = sorted(file for file in files if file.endswith((".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack")))
    if pickled:
        return (
            f"{name} holds its weights as {', '.join(pickled[:3])} and not as safetensors: refused, since reading "
            "pickled weights can run code; use a revision that has model.safetensors"
        )
    return f"{name} holds no {WEIGHTS}"


# --- the Hub --------------------------------------------------------------------------------------------------------


def _cached(identity: str, revision: str | None) -> Path | None:
    """Return the snapshot of a model in the Hub's cache, if it is whole."""
    hub = require("huggingface_hub", extra="encoders", purpose="encoders of the Hub")
    if not identity or not _ID.fullmatch(identity):
        return None
    look = partial(hub.try_to_load_from_cache, identity, revision=revision)
    config = look(CONFIG)
    if not isinstance(config, str):
        return None
    folder = Path(config).parent
    index = folder / INDEX
    whole = (folder / WEIGHTS).is_file() or (
        index.is_file() and all((folder / part).is_file() for part in _parts(read_json(index), index))
    )
    return folder if whole else None


def _fetched(name: str, identity: str, revision: str | None, purpose: str) -> Path:
    """Fetch config, tokeniser, preprocessing and safetensors of one commit, and nothing else."""
    hub = require("huggingface_hub", extra="encoders", purpose="encoders of the Hub")
    from huggingface_hub import errors

    needs = f"{name}{' ' + purpose if purpose else ''}"
    unreachable: tuple[type[BaseException], ...] = (*_http_errors(errors.HfHubHTTPError), OSError)
    try:
        info = hub.HfApi().model_info(identity, revision=revision)
        held = {entry.rfilename for entry in info.siblings or ()}
        get = partial(hub.hf_hub_download, identity, revision=info.sha or revision)
        if CONFIG not in held:
            raise DataError(f"{needs}: {identity} holds no {CONFIG}")
        config = Path(get(CONFIG))
        read_config(config.parent)
        if WEIGHTS in held:
            wanted = [WEIGHTS]
        elif INDEX in held:
            wanted = [INDEX, *_parts(json.loads(Path(get(INDEX)).read_text("utf-8")), f"{INDEX} of {identity}")]
        else:
            raise DataError(f"{needs}: " + _no_safetensors(identity, held))
        logger.info("%s: fetching %s at %s", name, identity, info.sha or revision or "main")
        for file in (*(small for small in SMALL if small in held), *wanted):
            get(file)
    except errors.GatedRepoError:
        raise DataError(
            f"{needs}: {identity} is given out under terms that are accepted first: https://huggingface.co/{identity}"
        ) from None
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError):
        at = f" at revision {revision}" if revision else ""
        raise DataError(f"{needs}: the Hub knows no {identity}{at}") from None
    except unreachable as error:
        raise DataError(f"{needs} {why_not(identity)} [{type(error).__name__}]") from None
    _remember(config.parent, revision)
    return config.parent


def _http_errors(own: type[BaseException]) -> tuple[type[BaseException], ...]:
    """Return the errors of the HTTP library that the Hub's client builds on: the bases of its own error."""
    return tuple(base for base in own.__mro__ if issubclass(base, Exception) and base not in (Exception, BaseException))


def _remember(snapshot: Path, revision: str | None) -> None:
    """Write which commit a branch stood at, as the Hub's own client does, so that the next look-up finds it."""
    reference = snapshot.parent.parent / "refs" / (revision or "main")
    if revision != snapshot.name and not reference.exists():
        reference.parent.mkdir(parents=True, exist_ok=True)
        reference.write_text(snapshot.name)
