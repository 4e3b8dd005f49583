"""Sound encoders of the Hub: audio spectrogram transformer, Whisper's encoder, wav2vec 2.0.

A sound is several windows; states and vectors are averaged over them. Whisper fills its window of 30 s with silence:
only positions that hold sound are pooled. wav2vec 2.0 may normalise over time, so that a padded window would give other
states: windows of equal length run together and nothing is ever padded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from sensorium.core.files import read_json
from sensorium.encoders.hub.base import HubConfig, HubEncoder, Output
from sensorium.encoders.hub.families import facts_of
from sensorium.encoders.preparing.audio import WhisperPreparer
from sensorium.encoders.preparing.speech import FilterbankPreparer, WavePreparer
from sensorium.encoders.protocol import Prepared, Preparer

if TYPE_CHECKING:
    from torch import Tensor, nn

_INPUT = {"ASTModel": "bands", "WhisperModel": "mel", "Wav2Vec2Model": "waves"}


class HubSoundConfig(HubConfig):
    """Options of a sound encoder."""

    max_seconds: float = Field(60.0, gt=0, description="longer sound is read in evenly spaced segments")


class HubSound(HubEncoder):
    """Any sound model of the known families, by its id or folder."""

    Config = HubSoundConfig
    modality = family_modality = "audio"
    group_name = "hub-audio"
    budget = 8

    def _make_preparer(self) -> Preparer:
        file = self.found.folder / "preprocessor_config.json"
        told: dict[str, Any] = read_json(file) if file.is_file() else {}
        facts, seconds = facts_of(self.family, self.facts), self.config.max_seconds
        if self.family.cls == "WhisperModel":
            return WhisperPreparer(seconds, bands=int(facts["num_mel_bins"]))
        if self.family.cls == "ASTModel":
            numbers: dict[str, Any] = {
                name: float(told[name]) for name in ("mean", "std") if isinstance(told.get(name), int | float)
            }
            return FilterbankPreparer(
                int(facts["max_length"]), int(facts["num_mel_bins"]), **numbers, max_seconds=seconds
            )
        return WavePreparer(bool(told.get("do_normalize", True)), max_seconds=seconds)

    def _part_of(self, model: nn.Module) -> nn.Module:
        """Whisper's decoder is left out."""
        return model.encoder if self.family.cls == "WhisperModel" else model  # type: ignore[return-value]

    def collate(self, items: Sequence[Prepared]) -> dict[str, Tensor]:
        """Put the windows of all items behind one another: [all windows, ...] and `pieces` int64 [b]."""
        import numpy as np
        import torch

        kind = _INPUT[self.family.cls]
        pieces = torch.tensor([item.pieces for item in items])
        if kind != "waves":
            windows = torch.from_numpy(np.concatenate([item.arrays[kind] for item in items]))
            batch = {kind: windows, "pieces": pieces}
            if kind == "mel":
                batch["positions"] = torch.from_numpy(np.concatenate([item.arrays["positions"] for item in items]))
            return batch
        longest = max(item.arrays[kind].shape[1] for item in items)
        rows = [np.pad(item.arrays[kind], ((0, 0), (0, longest - item.arrays[kind].shape[1]))) for item in items]
        samples = np.concatenate([item.arrays["samples"] for item in items])
        return {kind: torch.from_numpy(np.concatenate(rows)), "samples": torch.from_numpy(samples), "pieces": pieces}

    def run(self, batch: Mapping[str, Tensor]) -> Output:
        """Run the model on windows."""
        import torch

        kind = _INPUT[self.family.cls]
        if kind == "waves":
            return self._by_length(batch["waves"], batch["samples"])
        mask = None
        if kind == "mel":
            outputs = self.module(input_features=batch["mel"], output_hidden_states=True)
            places = torch.arange(outputs.last_hidden_state.shape[1], device=batch["mel"].device)
            mask = places < batch["positions"].unsqueeze(1)
        else:
            outputs = self.module(input_values=batch["bands"], output_hidden_states=True)
        return Output(self.states_of(outputs), mask, self.pool(outputs.last_hidden_state, mask))

    def _by_length(self, waves: Tensor, samples: Tensor) -> Output:
        """Run windows of equal length together, and put the states back in order, padded behind the model."""
        import torch

        found: dict[int, list[Tensor]] = {}
        for length in sorted(set(samples.tolist())):
            rows = (samples == length).nonzero().flatten()
            outputs = self.module(input_values=waves[rows, :length], output_hidden_states=True)
            states = self.states_of(outputs)
            for place, row in enumerate(rows.tolist()):
                found[row] = [state[place] for state in states]
        ordered = [found[row] for row in range(len(samples))]
        layers = [
            torch.nn.utils.rnn.pad_sequence([states[layer] for states in ordered], batch_first=True)
            for layer in range(len(self.layers))
        ]
        counts = torch.tensor([states[0].shape[0] for states in ordered], device=waves.device)
        mask = torch.arange(layers[0].shape[1], device=waves.device) < counts.unsqueeze(1)
        return Output(layers, mask, self.pool(layers[-1], mask))

    @classmethod
    def _preprocessing(cls, config: Any) -> str:
        return (
            f"mono at 16 kHz, all of it up to {config.max_seconds:g} s, segments of longer sound, the model's windows"
        )
