"""A Hugging Face hub of one dataset, on this machine: the few addresses that its clients ask for."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

COMMIT = "a" * 40
JSON = {"Content-Type": "application/json"}


@dataclass
class Hub:
    """What the hub serves (content by name; no folders), the tokens it was shown, and the files it gave."""

    repository: str
    files: Mapping[str, bytes]
    endpoint: str = ""
    tokens: set[str | None] = field(default_factory=set)
    given: list[str] = field(default_factory=list)

    def answer(self, path: str, *, with_body: bool) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers for a request."""
        api = f"/api/datasets/{self.repository}"
        if path.startswith(f"{api}/tree"):
            return 200, json.dumps([self._describe(name) for name in self.files]).encode(), JSON
        if path.startswith(f"{api}/paths-info"):
            return 200, json.dumps([self._describe(name) for name in self.files]).encode(), JSON
        if path.startswith(api):
            siblings = [{"rfilename": name} for name in self.files]
            known = {"id": self.repository, "sha": COMMIT, "siblings": siblings, "tags": []}
            return 200, json.dumps(known).encode(), JSON
        if path.startswith(f"/datasets/{self.repository}/resolve/"):
            return self._give(path.split("/resolve/")[1].partition("/")[2], with_body=with_body)
        return self._refuse(path)

    def _describe(self, name: str) -> dict[str, object]:
        content = self.files[name]
        return {"type": "file", "path": name, "size": len(content), "oid": _blob(content)}

    def _give(self, name: str, *, with_body: bool) -> tuple[int, bytes, dict[str, str]]:
        if name not in self.files:
            return self._refuse(self.repository)
        if with_body:
            self.given.append(name)
        content = self.files[name]
        return 200, content, {"ETag": f'"{_blob(content)}"', "X-Repo-Commit": COMMIT}

    def _refuse(self, path: str) -> tuple[int, bytes, dict[str, str]]:
        code = "EntryNotFound" if self.repository in path else "RepoNotFound"
        return 404, b"", {"X-Error-Code": code, "X-Repo-Commit": COMMIT}


def _blob(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """The hub, answering at `hub.endpoint` while the block runs."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            hub.tokens.add(self.headers.get("Authorization"))
            status, body, headers = hub.answer(self.path.partition("?")[0], with_body=self.command == "GET")
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, format: str, *values: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
