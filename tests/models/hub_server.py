"""A hub on the loopback interface: the endpoints that huggingface_hub's client uses to fetch a repository."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """Repositories by name, what was asked of them, and the token that opens gated ones."""

    repositories: dict[str, Path]
    gated: frozenset[str] = frozenset()
    token: str = "hf_open_sesame"
    address: str = ""
    served: list[str] = field(default_factory=list)
    breaks_in: str | None = None
    """A file whose downloads break off half-way while this is set."""


@contextmanager
def running_hub(repositories: dict[str, Path], *, gated: frozenset[str] = frozenset()) -> Iterator[Hub]:
    """A hub that serves folders under repository names until the block ends."""
    hub = Hub(repositories, gated)
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test output clean."""

    def _answer(self, *, with_body: bool) -> None:
        path = self.path.partition("?")[0].strip("/")
        steps = path.removeprefix("api/models/").split("/")
        name = "/".join(steps[:2])
        folder = self.hub.repositories.get(name)
        if folder is None:
            self._refuse(404, "RepoNotFound", "Repository not found")
        elif name in self.hub.gated and self.headers.get("authorization") != f"Bearer {self.hub.token}":
            self._refuse(403, "GatedRepo", "Access to this model is restricted")
        elif path.startswith("api/models/"):
            self._describe(name, folder, steps[2:])
        else:
            self._serve(folder / "/".join(steps[4:]), with_body=with_body)

    def _describe(self, name: str, folder: Path, rest: list[str]) -> None:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        if rest and rest[0] == "tree":
            self._send_json([_entry(file, folder) for file in files])
        elif rest[:1] == ["revision"] and rest[1] not in ("main", COMMIT):
            self._refuse(404, "RevisionNotFound", "Revision not found")
        else:
            siblings = [{"rfilename": file.relative_to(folder).as_posix()} for file in files]
            self._send_json({"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings})

    def _serve(self, file: Path, *, with_body: bool) -> None:
        if not file.is_file():
            self._refuse(404, "EntryNotFound", "Entry not found")
            return
        content = file.read_bytes()
        start = int((self.headers.get("range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        if with_body:
            self.hub.served.append(file.name)
        self.send_response(206 if start else 200)
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if with_body and self.hub.breaks_in == file.name:
            self.wfile.write(content[start : (start + len(content)) // 2])
            self.close_connection = True
        elif with_body:
            self.wfile.write(content[start:])

    def _send_json(self, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _refuse(self, status: int, code: str, message: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", message)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _entry(file: Path, folder: Path) -> dict[str, object]:
    content = file.read_bytes()
    return {
        "type": "file",
        "path": file.relative_to(folder).as_posix(),
        "size": len(content),
        "oid": hashlib.sha1(content).hexdigest(),
    }
