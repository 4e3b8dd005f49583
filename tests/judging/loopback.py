"""A small server that speaks chat completions over real HTTP, checks what it is sent, and fails as it is told to.

    with Loopback() as server:
        ... server.url, server.requests, server.answered

Pictures are decoded on arrival; content that is no typed part, a picture that is no JPEG, or a wrong key is refused.
Answers are those of the script `brightness`, computed from the pixels. It also runs as a program, which outlives the
processes that ask it:  python loopback.py LOG FAULTS  prints its port and appends one line for every whole answer.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

Body = dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """How one request is treated.

    Attributes:
        kind: status, timeout, truncated (the body ends early), no-json (it is no JSON), malformed (the answer's text is
            unreadable), error-text (the text is an error message).
        status: For "status".
        headers: For "status", such as Retry-After.
        body: For "status".
        seconds: For "timeout": how long nothing is said.
    """

    kind: str
    status: int = 500
    headers: dict[str, str] = field(default_factory=dict)
    body: Body = field(default_factory=dict)
    seconds: float = 1.0


Faults = Callable[[Body, int], Fault | None]  # from a body, and how often it came before, to what happens


class Loopback:
    """The server, in threads of this process.

    Attributes:
        requests: Bodies of all requests, in the order of arrival.
        times: When they came, in seconds.
        answered: How often each distinct body got a whole answer, by its hash.
        problems: What was wrong with requests.
    """

    def __init__(self, faults: Faults | None = None, *, key: str = "", log: str = "", usage: bool = True) -> None:
        self.requests: list[Body] = []
        self.times: list[float] = []
        self.answered: Counter[str] = Counter()
        self.problems: list[str] = []
        self._faults, self._key, self._log, self._usage = faults, key, log, usage
        self._came: Counter[str] = Counter()
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer.serve(self)

            def log_message(self, format: str, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> Loopback:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    # --- one request ------------------------------------------------------------------------------------------------

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        content = handler.rfile.read(int(handler.headers["Content-Length"]))
        body: Body = json.loads(content)
        name = hashlib.sha256(content).hexdigest()
        with self._lock:
            self.requests.append(body)
            self.times.append(time.monotonic())
            before = self._came[name]
            self._came[name] += 1
        if self._key and handler.headers["Authorization"] != f"Bearer {self._key}":
            told = f"Incorrect API key provided: {handler.headers['Authorization']}"
            return self._send(handler, 401, {"error": {"code": "invalid_api_key", "message": told}})
        try:
            text = json.dumps(answer_of(body))
        except (AssertionError, KeyError, ValueError, OSError) as error:
            with self._lock:
                self.problems.append(f"{type(error).__name__}: {error}")
            return self._send(handler, 400, {"error": {"message": f"bad request: {error}"}})
        fault = self._faults(body, before) if self._faults else None
        if fault is not None and fault.kind == "status":
            return self._send(handler, fault.status, fault.body or {"error": {"message": "injected"}}, fault.headers)
        if fault is not None and fault.kind == "timeout":
            time.sleep(fault.seconds)
            handler.close_connection = True
            return None
        if fault is not None and fault.kind == "malformed":
            text = text[: len(text) // 2]
        if fault is not None and fault.kind == "error-text":
            text = "[ERROR] 429 rate limit"
        tree = completion(text, body, usage=self._usage)
        if fault is not None and fault.kind == "truncated":
            return self._send(handler, 200, tree, cut=0.5)
        if fault is not None and fault.kind == "no-json":
            return self._send(handler, 200, "<html>a proxy's page</html>")
        if fault is None or fault.kind == "malformed":  # an error message in the place of an answer is none
            with self._lock:
                self.answered[name] += 1
                if self._log:
                    with open(self._log, "a") as log:  # noqa: PTH123 - one line per whole answer, flushed by close
                        log.write(name + "\n")
        return self._send(handler, 200, tree)

    def _send(
        self,
        handler: BaseHTTPRequestHandler,
        status: int,
        tree: Body | str,
        headers: dict[str, str] | None = None,
        *,
        cut: float = 1.0,
    ) -> None:
        content = tree.encode() if isinstance(tree, str) else json.dumps(tree).encode()
        try:
            handler.send_response(status)
            handler.send_header("Content-Type", "application/json")
            handler.send_header("Content-Length", str(len(content)))
            for name, value in (headers or {}).items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(content[: int(len(content) * cut)])
            handler.close_connection = cut < 1
        except (BrokenPipeError, ConnectionResetError):
            handler.close_connection = True  # whoever asked has gone


def completion(text: str, body: Body, *, usage: bool = True) -> Body:
    """A chat completion with this text."""
    tree: Body = {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
    }
    if usage:
        tree["usage"] = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    return tree


# --- checking and answering -----------------------------------------------------------------------------------------


def parts_of(body: Body) -> list[Body]:
    """The typed parts of the first message of the user; everything that is no typed part is an error."""
    for message in body["messages"]:
        assert isinstance(message["content"], list), "content must be a list of typed parts"
        for part in message["content"]:
            assert part["type"] in ("text", "image_url", "video_url"), f"unknown part {part}"
            assert isinstance(part.get("text", ""), str)
    assert [message["role"] for message in body["messages"][:2]] == ["system", "user"]
    found: list[Body] = body["messages"][1]["content"]
    return found


def words_of(body: Body) -> str:
    """All words of a request, the system's too."""
    return "\n".join(part.get("text", "") for message in body["messages"] for part in message["content"])


def pixels_of(part: Body) -> Any:
    """Decode a picture that was sent."""
    url = part["image_url"]["url"]
    head, _, data = url.partition(",")
    assert head == "data:image/jpeg;base64", f"not a JPEG data URL: {head[:60]}"
    image = Image.open(io.BytesIO(base64.b64decode(data, validate=True)))
    assert image.format == "JPEG"
    return np.asarray(image.convert("RGB"))


def videos_of(body: Body) -> dict[str, list[Any]]:
    """The pictures of each video of a request, by its header."""
    found: dict[str, list[Any]] = {}
    header = ""
    for part in parts_of(body):
        if part["type"] == "text":
            match = re.match(r"video (V\d+) \(|(video to judge|video) \(|(example \d+)$", part["text"])
            header = next(filter(None, match.groups())) if match else ""
        elif part["type"] == "image_url":
            assert header, "a picture without a header"
            found.setdefault(header, []).append(pixels_of(part))
    return found


def answer_of(body: Body) -> Body:
    """The honest answer to a request, from its words and pixels alone."""
    videos, words = videos_of(body), words_of(body)
    if '"questions": [<' in words:
        return {"questions": ["How bright is it?"]}
    if asked := re.search(r"answer each of the (\d+) questions", words):
        return {"aspects": "brightness", "answers": ["As it looks."] * int(asked[1])}
    scale = re.search(r"on a scale from (\d+) to (\d+)", words)
    if scale is None:
        return {"caption": "A video.", "description": f"Frames of brightness {mean(videos['video']):.0f}."}
    low, high = int(scale[1]), int(scale[2])

    def score(pictures: list[Any]) -> Body:
        level = low + min(int(mean(pictures) / 256 * (high - low + 1)), high - low)
        return {"score": level, "reason": f"brightness {mean(pictures):.0f}"}

    if "V1" in videos:
        return {"scores": [{"video": name, **score(pictures)} for name, pictures in reversed(videos.items())]}
    target = videos.get("video to judge") or videos["video"]
    final = {"updated_description": "Frames."} if "updated_description" in words else {}
    return {**final, **score(target)}


def mean(pictures: list[Any]) -> float:
    return float(np.mean([picture.mean() for picture in pictures]))


def drawn_faults(errors: float, malformed: float, *, salt: str = "") -> Faults:
    """Faults drawn from a request's body and attempt: the same for the same, whoever asks and when.

    Of each exchange the third try is always well-formed, and a body fails at most four times in a row.
    """

    def faults(body: Body, before: int) -> Fault | None:
        words = json.dumps(body, sort_keys=True)
        draw = int.from_bytes(hashlib.sha256(f"{salt}|{before}|{words}".encode()).digest()[:6], "big") / 2**48
        if before < 4 and draw < errors:
            kinds = (
                Fault("status", 429, {"Retry-After": "0.02"}),
                Fault("status", 429),
                Fault("status", 500),
                Fault("truncated"),
                Fault("no-json"),
                Fault("error-text"),
            )
            return kinds[int(draw / errors * len(kinds))]
        if errors <= draw < errors + malformed and len(body["messages"]) < 6:
            return Fault("malformed")
        return None

    return faults


if __name__ == "__main__":
    with Loopback(drawn_faults(float(sys.argv[2]), float(sys.argv[3])), log=sys.argv[1]) as running:
        print(running.url, flush=True)  # noqa: T201 - whoever started it reads the address here
        sys.stdin.read()
