"""One file from the network: https alone, a cap on its size, and where it was cut off it goes on.

What has arrived lies in `<file>.part`; beside it `<file>.part.json` says of which version of the file (the server's
ETag or date) it is. A server that cannot send the rest, or has another version, is asked for the whole.
"""

from __future__ import annotations

import http.client
import logging
import re
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from sensorium.core.errors import DataError
from sensorium.core.files import read_json, write_json
from sensorium.core.progress import Progress
from sensorium.core.resources import readable_bytes

logger = logging.getLogger(__name__)

CHUNK = 1 << 20
TRIES = 5  # in a row without a byte
WAIT = 1.0  # seconds before the second try; doubled before each further one
TIMEOUT = 60.0  # seconds without an answer
LOOPBACK = ("127.0.0.1", "::1", "localhost")
_BROKEN = (OSError, http.client.HTTPException)  # a cut connection, a time-out, an answer that ends too early


class _RefusedError(Exception):
    """The server's answer is no: trying again changes nothing."""


def download(url: str, target: Path, *, max_bytes: int, wait: float = WAIT) -> Path:
    """Fetch a file; what is there already is not fetched again.

    Args:
        url: https; http is taken from this machine alone.
        target: The file that it becomes.
        max_bytes: The most that is fetched.
        wait: Seconds before the second try.

    Raises:
        DataError: The address is not https, there is no connection, the server refuses, or the file is too large.
    """
    _require_https(url)
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    part, about = target.with_name(f"{target.name}.part"), target.with_name(f"{target.name}.part.json")
    failures = 0
    while True:
        before = part.stat().st_size if part.is_file() else 0
        try:
            _fetch(url, part, about, max_bytes)
            break
        except _RefusedError as refusal:
            raise DataError(f"{url}: {refusal}") from None
        except _BROKEN as error:
            gained = (part.stat().st_size if part.is_file() else 0) - before
            failures = 1 if gained > 0 else failures + 1
            if failures >= TRIES or (not part.is_file() and _no_connection(error)):
                have = readable_bytes(before + max(gained, 0))
                kept = f"; {have} are kept, and the next call goes on" if part.is_file() else ""
                raise DataError(f"no connection to {urlsplit(url).hostname}: {_reason(error)}{kept}") from None
            logger.info("%s: %s; going on", target.name, _reason(error))
            time.sleep(wait * 2 ** (failures - 1))
    part.replace(target)
    about.unlink(missing_ok=True)
    return target


def _require_https(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise DataError(f"{url}: downloads are by https alone")


class _HttpsAlone(urllib.request.HTTPRedirectHandler):
    """Follow no redirect to an unprotected address."""

    def redirect_request(self, request: Any, handle: Any, code: int, message: str, headers: Any, newurl: str) -> Any:
        try:
            _require_https(newurl)
        except DataError as error:
            raise _RefusedError(f"the server sends elsewhere: {error}") from None
        return super().redirect_request(request, handle, code, message, headers, newurl)


def _fetch(url: str, part: Path, about: Path, max_bytes: int) -> None:
    """Fetch what is missing of a file into `part`; raise where the connection ends before the file does."""
    have = part.stat().st_size if part.is_file() else 0
    version = read_json(about).get("version") if have and about.is_file() else None
    headers = {"User-Agent": "sensorium", "Accept-Encoding": "identity"}
    if have and version:
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    opener = urllib.request.build_opener(_HttpsAlone)
    try:
        answer = opener.open(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing is left to send, or the file became shorter: ask for the whole
            part.unlink()
            raise ConnectionResetError("the rest cannot be had; starting again") from None
        if error.code in (408, 425, 429, 500, 502, 503, 504):
            raise ConnectionError(f"the server answers {error.code}") from None
        raise _RefusedError(f"the server answers {error.code} ({error.reason})") from None
    with answer:
        start = _start(answer, have) if answer.status == 206 else 0
        length = answer.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        if (total or 0) > max_bytes:
            raise _RefusedError(
                f"it has {readable_bytes(total or 0)}, and at most {readable_bytes(max_bytes)} are fetched"
            )
        write_json(about, {"url": url, "version": _version(answer.headers), "bytes": total})
        with part.open("r+b" if start else "wb") as handle:
            handle.seek(start)
            handle.truncate()
            _copy(answer, handle, start, total, max_bytes, part.name.removesuffix(".part"))


def _copy(answer: Any, handle: IO[bytes], start: int, total: int | None, max_bytes: int, name: str) -> None:
    got = start
    with Progress(total, name, unit="bytes") as bar:
        bar.advance(start)
        while chunk := answer.read(CHUNK):
            got += len(chunk)
            if got > max_bytes:
                raise _RefusedError(f"it is larger than {readable_bytes(max_bytes)}, the most that is fetched")
            handle.write(chunk)
            bar.advance(len(chunk))
    if total is not None and got < total:
        raise ConnectionResetError(f"the connection ended after {readable_bytes(got)} of {readable_bytes(total)}")


def _start(answer: Any, have: int) -> int:
    found = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != have:
        raise _RefusedError("the server sends another part than was asked for")
    return have


def _version(headers: Any) -> str | None:
    """Return what names this version of the file; a weak ETag does not say that bytes are equal."""
    tag = headers.get("ETag")
    found = headers.get("Last-Modified") if tag is None or tag.startswith("W/") else tag
    return None if found is None else str(found)


def _no_connection(error: BaseException) -> bool:
    return isinstance(error, urllib.error.URLError)


def _reason(error: BaseException) -> str:
    reason = getattr(error, "reason", None) or error
    return str(reason) or type(error).__name__
