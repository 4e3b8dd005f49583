"""One path from the files of a model to its states: found, checked, built, run, pooled.

A batch holds *sequences*: one per text and picture, one per window of a sound, one per frame of a clip that is pooled
over frames. `run` returns the states of all of them; pooling goes over the content of each sequence, then over the
sequences of each item, in float32.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from sensorium.core import config as core_config
from sensorium.core.errors import ConfigError, DataError, require
from sensorium.encoders.base import EncoderCard, LicenceCard, Modality, WeightsCard
from sensorium.encoders.hub import weights as hub_weights
from sensorium.encoders.hub.families import Family, Shape, family_of, normed_last, shape_of
from sensorium.encoders.hub.sequences import as_sequence, joined, over_pieces, widened
from sensorium.encoders.protocol import Prepared, Preparer

if TYPE_CHECKING:
    from torch import Tensor, nn

logger = logging.getLogger(__name__)

PREP_VERSION = 1
# Parts of a checkpoint's class that no state depends on: they may be missing in the file.
_UNUSED = ("pooler.", "mask_token", "masked_spec_embed", "position_ids", "head.", "predictor.", "decoder.")


class HubConfig(core_config.Config):
    """What every Hub encoder can be told."""

    id: str = Field("", description="Hub id (as in google-bert/bert-base-uncased), or a folder that holds a model")
    revision: str | None = Field(None, description="commit, tag or branch of the Hub; a commit repeats exactly")
    weights: str = Field(
        "auto", description="auto or hub: the Hub's cache, then the Hub; a folder; random: untrained, for tests only"
    )
    pooling: Literal["default", "mean", "cls", "last"] = Field(
        "default", description="how tokens or patches become one vector; default: as the family was made for"
    )
    final_norm: bool = Field(True, description="store the last layer after the model's final norm")


@dataclass(frozen=True)
class Known:
    """What is known of a named encoder before its files are here."""

    name: str
    id: str
    dims: tuple[int, ...]
    vector: int
    params: int
    licence: str
    download_mb: float
    trust: str
    resolution: tuple[int, int] | None = None
    max_tokens: int | None = None
    frames: int | None = None
    languages: str = ""


@dataclass(frozen=True)
class Output:
    """What a model returned for m sequences.

    Attributes:
        hidden: States of each layer, [m, n, D]; n and D may differ between layers.
        mask: Which of n hold content, bool [m, n]; None: all.
        vector: [m, P], float32.
    """

    hidden: list[Tensor]
    mask: Tensor | None
    vector: Tensor


class HubEncoder(ABC):
    """Base of the Hub encoders; see `protocol.FoundationEncoder` for the attributes.

    A named encoder is a subclass with `known` and a default `id` in its Config.
    """

    Config: ClassVar[type[HubConfig]] = HubConfig
    modality: ClassVar[Modality]
    family_modality: ClassVar[Modality]
    known: ClassVar[Known | None] = None
    budget: int = 16
    group_name: ClassVar[str] = "hub"

    config: Any
    module: nn.Module
    preparer: Preparer

    def __init__(self, config: Any = None) -> None:
        self.config = config if config is not None else self.Config()
        name = self._name(self.config)
        self.found = hub_weights.find(name, self.config.id, self.config.revision, self.config.weights)
        self.facts = self.found.config()
        self.family: Family = family_of(self.family_modality, self.facts, self.found.name)
        self.shape: Shape = shape_of(self.family, self.facts, self.found.name)
        self.layers = tuple(range(len(self.shape.dims)))
        self.layer_dims = self.shape.dims
        self.pooled_dim = self.shape.vector
        self.normed = normed_last(self.family, self.facts)
        self.final_norm = self.config.final_norm or self.normed
        self.pooling: str = self._pooling()
        self.preparer = self._make_preparer()
        self.weights_hash = hub_weights.weights_hash(self.found)
        self._loaded = False
        self.card = self._card(self.config, self.shape, self.found, self.weights_hash)

    # --- what a modality says ---

    @abstractmethod
    def _make_preparer(self) -> Preparer:
        """Return the preprocessing; reads small files alone."""

    @abstractmethod
    def collate(self, items: Sequence[Prepared]) -> dict[str, Tensor]:
        """Pad prepared items to one batch; `pieces`, int64 [b], where items have several sequences."""

    @abstractmethod
    def run(self, batch: Mapping[str, Tensor]) -> Output:
        """Run the model, with gradients where the caller has not switched them off."""

    @classmethod
    @abstractmethod
    def _preprocessing(cls, config: Any) -> str:
        """Return the preprocessing in one sentence, for the card."""

    def _pooling(self) -> str:
        asked: str = self.family.pooling if self.config.pooling == "default" else self.config.pooling
        if asked == "cls" and self.family.modality != "text" and not self.family.leading:
            raise ConfigError(f"pooling: {self.family.cls} has no class token; choose mean")
        if asked == "last" and self.family.modality != "text":
            raise ConfigError("pooling: 'last' is for texts; choose mean or cls")
        return asked

    def _model_options(self) -> dict[str, Any]:
        """Return what overrides the config's values when the model is built."""
        return {}

    def _part_of(self, model: nn.Module) -> nn.Module:
        """Return the part of a model that encodes."""
        return model

    # --- card ---

    @classmethod
    def _name(cls, config: Any) -> str:
        known = cls.known
        if known is not None and config.id == known.id:
            return known.name
        return str(config.id) or cls.group_name

    @classmethod
    def describe(cls, config: Any) -> EncoderCard:
        """Return the card, from what is known or from small files on this machine; opens no connection."""
        known = cls.known if cls.known is not None and config.id == cls.known.id else None
        missing = missing_package()
        here = not missing and hub_weights.is_here(config.id, config.revision, config.weights)
        shape = None
        if here:
            try:
                found = hub_weights.find(cls._name(config), config.id, config.revision, config.weights)
                facts = found.config()
                shape = shape_of(family_of(cls.family_modality, facts, found.name), facts, found.name)
                return cls._card(config, shape, found, None)
            except DataError as error:
                return cls._card(config, None, None, None, why_not=str(error))
        sentence = missing or (
            hub_weights.why_not(config.id, known.download_mb if known else None)
            if config.id
            else "it reads any model of its families: give one (id: OWNER/NAME or a folder)"
        )
        return cls._card(config, None, None, None, why_not=sentence)

    @classmethod
    def _card(
        cls,
        config: Any,
        shape: Shape | None,
        found: hub_weights.Found | None,
        sha256: str | None,
        *,
        why_not: str = "",
    ) -> EncoderCard:
        known = cls.known if cls.known is not None and config.id == cls.known.id else None
        if shape is None and known is not None:
            shape = Shape(known.dims, known.vector, known.max_tokens, known.resolution, known.frames)
        dims = shape.dims if shape else ()
        return EncoderCard(
            name=cls._name(config),
            family=cls.group_name,
            modality=cls.modality,
            pooled_dim=cls._vector_width(config, shape.vector) if shape else 0,
            layers=tuple(range(len(dims))),
            layer_dims=dims,
            params=known.params if known else None,
            max_tokens=cls._ceiling(config, shape),
            resolution=cls._resolution(config, shape),
            sample_rate=16_000 if cls.modality == "audio" else None,
            frames=cls._frames(config, shape),
            weights=WeightsCard(
                source=found.source if found else "hub",
                package=found.name if found else config.id or None,
                version=found.version if found else config.revision,
                file=", ".join(file.name for file in found.files) if found and found.files else None,
                sha256=sha256,
            ),
            licence=LicenceCard(weights=known.licence if known else None, package=None),
            download_mb=known.download_mb if known else None,
            runs_now=not why_not,
            why_not=why_not,
            trust=known.trust if known else "whoever published this id",
            languages=known.languages if known else "",
            preprocessing=cls._preprocessing(config),
            prep_version=PREP_VERSION,
        )

    @classmethod
    def _vector_width(cls, config: Any, width: int) -> int:
        return width

    @classmethod
    def _ceiling(cls, config: Any, shape: Shape | None) -> int | None:
        return None

    @classmethod
    def _resolution(cls, config: Any, shape: Shape | None) -> tuple[int, int] | None:
        return None

    @classmethod
    def _frames(cls, config: Any, shape: Shape | None) -> int | None:
        return None

    # --- the model ---

    def load(self) -> None:
        """Verify the weight files and build the model: eval mode, float32, no code but transformers' own."""
        if self._loaded:
            return
        hub_weights.verify(self.found, self.weights_hash)
        transformers = require("transformers", extra="encoders", purpose=f"the encoder {self.card.name}")
        import torch

        cls = getattr(transformers, self.family.cls)
        with quiet(transformers):
            if self.found.source == "random":
                own = cls.config_class.from_pretrained(self.found.folder, **self._model_options())
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(0)
                    model = cls(own)
            else:
                model, info = cls.from_pretrained(
                    self.found.folder,
                    use_safetensors=True,
                    trust_remote_code=False,
                    local_files_only=True,
                    dtype=torch.float32,
                    output_loading_info=True,
                    **self._model_options(),
                )
                self._refuse_gaps(info)
        self.module = self._part_of(model).eval().to(torch.float32)
        pooler = getattr(self.module, "pooler", None)
        if not self.family.pooler and pooler is not None and any(True for _ in pooler.parameters()):
            self.module.register_module("pooler", None)  # a head of its own training: no state passes through it
        self._loaded = True
        params = sum(value.numel() for value in self.module.parameters())
        self.card = self.card.model_copy(update={"params": params})

    def _refuse_gaps(self, info: Mapping[str, Any]) -> None:
        """A weight that the file lacks was drawn at random: only parts that no state depends on may lack."""
        gaps = [key for key in info.get("missing_keys") or () if not any(part in f"{key}." for part in self._unused())]
        wrong = list(info.get("mismatched_keys") or ())
        if gaps or wrong:
            raise DataError(
                f"the weights of {self.found.name} do not fit a {self.family.cls}: "
                f"{len(gaps) + len(wrong)} parameters are missing or of another shape, such as {(gaps or wrong)[0]}"
            )

    def _unused(self) -> tuple[str, ...]:
        return tuple(part for part in _UNUSED if not (self.family.pooler and part in ("pooler.", "head.")))

    def forward(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return pooled states of all layers, float32 [b, K, D], and vectors, float32 [b, P], without gradients."""
        import torch

        with torch.inference_mode(), _true_float32():
            batch = self._placed(batch)
            output = self.run(batch)
            widest = max(self.layer_dims)
            states = [widened(self.pool(hidden, output.mask), widest) for hidden in output.hidden]
            pooled = over_pieces(torch.stack(states, 1), batch.get("pieces"))
            return pooled, self._vectors(output.vector, batch.get("pieces"))

    def tokens(self, batch: Mapping[str, Tensor], layer: int) -> tuple[Tensor, Tensor]:
        """Return the states of one layer before pooling, float32 [b, n_tok, D], and which are content, bool."""
        import torch

        with torch.inference_mode(), _true_float32():
            batch = self._placed(batch)
            output = self.run(batch)
            hidden = output.hidden[self.layers.index(layer)].float()
            mask = output.mask
            if mask is None or mask.shape[1] != hidden.shape[1]:
                mask = torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
            return joined(hidden, mask, batch.get("pieces"))

    def embed(self, batch: Mapping[str, Tensor], layer: int | None = None) -> Tensor:
        """Return the vectors alone, [b, P], with gradients: for towers that are trained end to end.

        Args:
            batch: What `collate` returned.
            layer: Place in `layers` whose pooled state is returned instead, [b, its width].
        """
        batch = self._placed(batch)
        output = self.run(batch)
        if layer is None:
            return self._vectors(output.vector, batch.get("pieces"))
        return over_pieces(self.pool(output.hidden[layer], output.mask), batch.get("pieces"))

    def _vectors(self, vector: Tensor, pieces: Tensor | None) -> Tensor:
        return over_pieces(vector, pieces)

    def _placed(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        device = next(self.module.parameters()).device
        return {name: value.to(device) for name, value in batch.items()}

    def pool(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        """Pool the states of m sequences: [m, n, D] and bool [m, n] to float32 [m, D]."""
        hidden = hidden.float()
        leading = self.family.leading
        if leading and hidden.shape[1] > leading:
            if self.pooling == "cls":
                return hidden[:, :leading].mean(1)
            hidden = hidden[:, leading:]
        if mask is None or mask.shape[1] != hidden.shape[1]:
            return hidden.mean(1)
        weight = mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * weight).sum(1) / weight.sum(1).clamp(min=1)

    def states_of(self, outputs: Any) -> list[Tensor]:
        """Return the hidden states as sequences [m, n, D], the last after the final norm if that is asked for."""
        hidden = list(outputs.hidden_states)
        if self.config.final_norm and not self.normed:
            hidden[-1] = outputs.last_hidden_state
        return [as_sequence(state) for state in hidden]


@contextmanager
def _true_float32() -> Iterator[None]:
    """Convolutions on a GPU in true float32: PyTorch would use TF32 unless told otherwise."""
    import torch

    if not torch.cuda.is_available():
        yield
        return
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


@contextmanager
def quiet(transformers: Any) -> Iterator[None]:
    """No load report and no bar: what is missing is refused by name, what is too much is no business of ours."""
    talk = transformers.utils.logging
    before, bars = talk.get_verbosity(), talk.is_progress_bar_enabled()
    talk.set_verbosity_error()
    talk.disable_progress_bar()
    try:
        yield
    finally:
        talk.set_verbosity(before)
        if bars:
            talk.enable_progress_bar()


def missing_package() -> str:
    """Return why transformers cannot be used, or nothing; imports nothing."""
    from importlib.util import find_spec

    for package in ("transformers", "tokenizers", "huggingface_hub"):
        if find_spec(package) is None:
            return f"needs the package '{package}': pip install 'sensorium[encoders]'"
    return ""
