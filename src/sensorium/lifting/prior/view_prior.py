"""The trained prior: what an RGBA picture of an object, and its camera, say about the picture from another camera.

    p(RGBA from camera c | reference RGBA, reference camera)

64 x 64 pixels, four channels, colour premultiplied with alpha; x = 2 RGBA - 1. Cameras stand at radius 2 with a field
of view of 49.1 degrees; the object fills 0.8 of the reference's frame and is centred there, as lifting prepares
photographs.

    prior = ViewPrior.shipped()
    reference = prior.reference(rgba, elevation=0.0)           # once per photograph
    eps = prior.predict(noisy, t, reference, elevations, azimuths, scale=2.0)
    views = prior.sample(reference, elevations, azimuths, generator=generator)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn import functional

from sensorium.core.errors import DataError
from sensorium.core.files import read_json, read_safetensors, sha256_file
from sensorium.lifting.camera import FOVY, RADIUS
from sensorium.lifting.prior.network import RGBA, Denoiser, NetworkConfig
from sensorium.lifting.prior.poses import RAYS, angles, plucker
from sensorium.lifting.prior.schedule import OFFSET, CosineSchedule

SIDE = 64
FORMAT = "view-prior 2"  # of the metadata of a file of weights; those of 1 tell the network alone
SCHEDULE: dict[str, Any] = {"name": "cosine", "offset": OFFSET}
CONVENTIONS: dict[str, Any] = {
    "prediction": "v",
    "picture": f"RGBA, premultiplied, {SIDE} x {SIDE}, x = 2 RGBA - 1",
    "camera": {"radius": RADIUS, "fovy_deg": FOVY, "elevation": "negative above"},
}
SHIPPED = "view_prior.safetensors"
CARD = "view_prior.json"  # beside the weights: their hash, how they were trained, what they reach


@dataclass(frozen=True)
class Reference:
    """A photograph as the model sees it; made once, used at every step.

    Attributes:
        picture: RGBA in -1..1, premultiplied, float32 [1, 4, S, S].
        elevation: Of its camera, degrees; negative above the object.
        features: Of the encoder, [1, C, h, w] per level.
    """

    picture: Tensor
    elevation: float
    features: tuple[Tensor, ...]


class ViewPrior:
    """The denoiser with its weights. They never train here; `training` does that.

    Attributes:
        network: The denoiser.
        schedule: Noise over time.
        card: How it was trained and what it reaches, as the file beside the weights says; empty for other weights.
        facts: What the file of weights itself tells, see `exporting`; of earlier files the network alone.
        native_size: Pixels along its pictures.
    """

    native_size: int = SIDE

    def __init__(
        self, network: Denoiser, *, card: dict[str, Any] | None = None, facts: dict[str, Any] | None = None
    ) -> None:
        # On a CPU convolutions are a sixth faster with the channels of a pixel side by side.
        self.network: Denoiser = network.requires_grad_(False).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.schedule = CosineSchedule()
        self.card = card or {}
        self.facts = facts or {}

    @classmethod
    def shipped(cls) -> ViewPrior:
        """Return the prior that is part of this package.

        Raises:
            DataError: A file is missing or damaged.
        """
        folder = Path(str(files("sensorium.lifting.prior") / "weights"))
        card = read_json(folder / CARD)
        return cls.from_file(folder / SHIPPED, sha256=card["sha256"], card=card)

    @classmethod
    def from_file(cls, path: str | Path, *, sha256: str | None = None, card: dict[str, Any] | None = None) -> ViewPrior:
        """Return the prior of a file that training exported.

        Args:
            path: Safetensors, with the size of the network in its metadata. Schedule, conventions, generator and steps
                need not be there: files of earlier releases lack them.
            sha256: What the file must be.
            card: What is known about it.

        Raises:
            DataError: The file is missing, damaged, another one, holds no prior, or was made for another schedule or
                with other conventions than this release has.
        """
        path = Path(path)
        if not path.is_file():
            raise DataError(f"{path} does not exist: 'python -m sensorium.lifting.prior export' writes it")
        if sha256 is not None and (found := sha256_file(path)) != sha256:
            raise DataError(f"{path} is damaged: its SHA-256 is {found}, not {sha256}; install the package again")
        try:
            with safe_open(path, framework="pt") as handle:
                metadata = handle.metadata() or {}
        except (SafetensorError, OSError) as error:
            raise DataError(f"{path} cannot be read as safetensors, it may be truncated: {error}") from None
        if "network" not in metadata:
            raise DataError(f"{path} holds no view prior: its metadata has no 'network'")
        facts = _facts(path, metadata)
        try:
            network = Denoiser(NetworkConfig.model_validate_json(metadata["network"]))
        except ValidationError as error:
            raise DataError(f"{path} names a network that there is not: {error.errors()[0]['msg']}") from None
        try:
            network.load_state_dict({name: value.float() for name, value in read_safetensors(path).items()})
        except RuntimeError as error:
            raise DataError(f"{path} does not fit its own network: {str(error).splitlines()[-1].strip()}") from None
        return cls(network, card=card, facts=facts)

    def to(self, device: torch.device | str) -> ViewPrior:
        """Move the weights to a device and return this prior."""
        self.network.to(device)
        return self

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return next(self.network.parameters()).device

    # --- the condition ----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def reference(self, rgba: Tensor, elevation: float) -> Reference:
        """Return a photograph ready for `predict`.

        Args:
            rgba: float32 [4, H, W] in 0..1, premultiplied, square; brought to 64 x 64 pixels.
            elevation: Of its camera, degrees.

        Raises:
            DataError: Another shape.
        """
        picture = self._picture(rgba)
        rays = plucker(picture.new_tensor([elevation]), picture.new_zeros(1), self.native_size)
        return Reference(picture, float(elevation), tuple(self.network.encoder(picture, rays)))

    @torch.no_grad()
    def elevation(self, rgba: Tensor) -> float:
        """Return the elevation in degrees that a photograph [4, H, W], see `reference`, seems to be taken from."""
        picture = self._picture(rgba)
        features = self.network.encoder(picture, picture.new_zeros(1, RAYS, self.native_size, self.native_size))
        return float(self.network.seen_elevation(features))

    def _picture(self, rgba: Tensor) -> Tensor:
        if rgba.ndim != 3 or rgba.shape[0] != RGBA or rgba.shape[1] != rgba.shape[2]:
            raise DataError(f"the view prior takes a square RGBA picture [4, S, S], not {list(rgba.shape)}")
        size = (self.native_size, self.native_size)
        picture = rgba.float()[None]
        if picture.shape[-1] != self.native_size:
            picture = functional.interpolate(picture, size, mode="bilinear", antialias=True, align_corners=False)
        return picture.clamp(0, 1) * 2 - 1

    # --- denoising --------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def predict(
        self,
        noisy: Tensor,
        t: Tensor | float,
        reference: Reference,
        elevations: Tensor,
        azimuths: Tensor,
        *,
        scale: float = 1.0,
    ) -> Tensor:
        """Return the noise that the model sees in noisy views.

        Args:
            noisy: z_t of x = 2 RGBA - 1, float32 [B, 4, 64, 64].
            t: Time in 0..1, one for all or [B].
            reference: From `reference`.
            elevations: Of the views' cameras in degrees, [B]; absolute, negative above the object.
            azimuths: Relative to the reference camera, degrees [B].
            scale: g of classifier-free guidance (Ho and Salimans, 2022): eps_u + g (eps_c - eps_u). 1 is the
                conditional model alone and costs half.

        Returns:
            eps, float32 [B, 4, 64, 64].
        """
        times = self._times(t, noisy)
        velocity = self.velocity(noisy, times, reference, elevations, azimuths, scale=scale)
        return self.schedule.noise(noisy, velocity, times)

    @torch.no_grad()
    def velocity(
        self,
        noisy: Tensor,
        t: Tensor | float,
        reference: Reference,
        elevations: Tensor,
        azimuths: Tensor,
        *,
        scale: float = 1.0,
    ) -> Tensor:
        """Return v of noisy views; the arguments are those of `predict`."""
        count = len(noisy)
        times = self._times(t, noisy)
        seen = noisy.new_full((count,), reference.elevation)
        rays, pose = plucker(elevations, azimuths, noisy.shape[-1]), angles(seen, elevations, azimuths)
        picture = reference.picture.expand(count, -1, -1, -1)
        features = [level.expand(count, -1, -1, -1) for level in reference.features]
        if scale == 1.0:
            return self.network(noisy, times, picture, features, rays, pose)  # type: ignore[no-any-return]
        known = torch.cat([noisy.new_ones(count), noisy.new_zeros(count)])
        both = [torch.cat([value, value]) for value in (noisy, times, picture)]
        features = [torch.cat([level, level]) for level in features]
        given, withheld = self.network(*both, features, torch.cat([rays, rays]), torch.cat([pose, pose]), known).chunk(
            2
        )
        return withheld + scale * (given - withheld)  # type: ignore[no-any-return]

    def _times(self, t: Tensor | float, noisy: Tensor) -> Tensor:
        return torch.as_tensor(t, dtype=noisy.dtype, device=noisy.device).expand(len(noisy))

    # --- sampling ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def sample(
        self,
        reference: Reference,
        elevations: Tensor,
        azimuths: Tensor,
        *,
        steps: int = 25,
        scale: float = 2.0,
        generator: torch.Generator | None = None,
        noise: Tensor | None = None,
        begin: Tensor | None = None,
        strength: float = 1.0,
    ) -> Tensor:
        """Return views by DDIM without added noise (Song et al., Denoising diffusion implicit models, ICLR 2021).

        Args:
            reference: From `reference`.
            elevations: Of the views' cameras in degrees, [B].
            azimuths: Relative to the reference camera, degrees [B].
            steps: Of a whole run.
            scale: g, see `predict`.
            generator: Draws the noise, on the CPU; needed where `noise` is not given.
            noise: Instead of a generator, [B, 4, 64, 64].
            begin: Views in 0..1 to change rather than to make, [B, 4, 64, 64]; they are noised to `strength`.
            strength: Share of the steps that are made of them: int(strength * steps).

        Returns:
            RGBA in 0..1, float32 [B, 4, 64, 64], premultiplied: no colour exceeds its alpha.
        """
        shape = (len(elevations), RGBA, self.native_size, self.native_size)
        device = reference.picture.device
        z = torch.randn(shape, generator=generator).to(device) if noise is None else noise
        times = self.schedule.times(steps).to(device)
        if begin is not None:
            times = times[steps - int(strength * steps) :]
            z = self.schedule.mix(begin * 2 - 1, z, times[:1])
        x0 = z if begin is None else begin * 2 - 1
        for now, following in pairwise(times):
            velocity = self.velocity(z, now, reference, elevations, azimuths, scale=scale)
            x0 = self.schedule.clean(z, velocity, now[None]).clamp(-1, 1)
            eps = self.schedule.noise_of_clean(z, x0, now[None])
            z = self.schedule.mix(x0, eps, following[None])
        rgba = (x0 + 1) / 2
        return torch.cat([rgba[:, :3], torch.maximum(rgba[:, 3:], rgba[:, :3].amax(1, keepdim=True))], 1)


def _facts(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return what the metadata of a file of weights tell, without `format`; what they name must be what is meant here.

    Raises:
        DataError: An entry is no JSON, or schedule or conventions are others.
    """
    found: dict[str, Any] = {}
    for name, text in metadata.items():
        if name == "format":
            continue
        try:
            found[name] = json.loads(text)
        except ValueError:
            raise DataError(f"{path}: '{name}' of its metadata is no JSON") from None
    for name, meant in (("schedule", SCHEDULE), ("conventions", CONVENTIONS)):
        if name in found and found[name] != meant:
            raise DataError(
                f"{path} was made with another {name} than this release has: {found[name]}, here {meant}; "
                "use the release that exported it"
            )
    return found
