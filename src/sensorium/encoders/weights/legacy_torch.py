"""The one place where `torch.load` is called: weight files from before safetensors, in a conversion, never later.

Such a file is a zip with a pickle in it. `weights_only=True` admits tensors and plain containers and calls nothing
else; the file's hash is checked before, so that only a file that was examined is opened at all.
"""

from __future__ import annotations

from pathlib import Path

import torch

from sensorium.core.errors import DataError
from sensorium.encoders.weights.files import verify


def read_state_dict(path: Path, sha256: str) -> dict[str, torch.Tensor]:
    """Return the named tensors of a `.pth` file.

    Raises:
        DataError: The file has another hash, or holds anything but named tensors.
    """
    verify(path, sha256)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # its own UnpicklingError cannot be named without importing pickle
        if isinstance(error, MemoryError | KeyboardInterrupt):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path} holds more than tensors, or is damaged, and was not loaded: {reason}") from None
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise DataError(f"{path} does not hold named tensors")
    return {str(name): value for name, value in content.items()}
