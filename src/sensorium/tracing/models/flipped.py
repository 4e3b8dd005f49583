"""Any network trained on noisy histories: what a model that claims to be robust must be compared with.

    model: {name: flipped, model: {name: akt}, flip_max: 0.5}

In training each sequence draws a rate from U(0, flip_max), or 0 with probability .25, and its history answers flip at
that rate; the answers that are predicted stay true. In evaluation it is the network alone.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from sensorium.core.config import Component, component
from sensorium.core.errors import ConfigError
from sensorium.tracing.base import (
    GROUP,
    NeuralTracer,
    Tracer,
    TracerInfo,
    TracingBatch,
    TracingOutput,
    TracingView,
    answer_loss,
)
from sensorium.tracing.ukt.views import flipped_history


class Flipped(Tracer):
    """A network whose training histories have slips and guesses."""

    class Config(Tracer.Config):
        """Keys of the wrapper."""

        model: component(GROUP) = Field(  # type: ignore[valid-type]
            {"name": "simplekt"}, description="the network and its own keys"
        )
        flip_max: float = Field(0.5, gt=0, le=1, description="largest share of flipped history answers of a sequence")
        flip: Literal["symmetric", "slip", "guess"] = Field(
            "symmetric", description="which answers flip: all, right ones only, wrong ones only"
        )

        @property
        def ema(self) -> float:
            """Decay of the averaged weights, as the network's config says."""
            return float(getattr(self.model.config, "ema", 0.0))

    info: ClassVar[TracerInfo] = TracerInfo(
        summary="any network, trained on histories with slips and guesses", citation="Sensorium"
    )
    config: Config

    def __init__(self, view: TracingView, config: Config) -> None:
        super().__init__(view, config)
        chosen: Component = config.model
        if not (issubclass(chosen.target, NeuralTracer) and chosen.target.loss is NeuralTracer.loss):
            raise ConfigError(
                f"model.model: '{chosen.name}' cannot be trained on flipped histories from outside: take a network "
                "with the ordinary loss (ukt has options of its own: flip_view, flip_max)"
            )
        self.inner: NeuralTracer = chosen.target(view, chosen.config)

    def forward(self, batch: TracingBatch) -> TracingOutput:
        """Predict as the network does."""
        return self.inner(batch)  # type: ignore[no-any-return]

    def loss(self, batch: TracingBatch) -> dict[str, Tensor]:
        """Return the network's terms on a flipped history and true targets."""
        history = flipped_history(batch.response.clamp(0, 1), largest=self.config.flip_max, flip=self.config.flip)
        terms = {"answers": answer_loss(self.inner(batch.replace(response=history)).logit, batch)}
        return terms | self.inner.embedding.penalty(batch, self.inner.config.question_penalty)
