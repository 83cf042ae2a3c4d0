"""A Hugging Face hub of one dataset with one file, on this machine: the few addresses that load_dataset asks for."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

COMMIT = "a" * 40


@dataclass
class Hub:
    """What the hub serves, and the tokens it was shown."""

    repository: str
    file_name: str
    content: bytes
    endpoint: str = ""
    tokens: set[str | None] = field(default_factory=set)

    def answer(self, path: str) -> tuple[int, bytes, dict[str, str]]:
        """Status, body and headers for a request."""
        blob = hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()
        listed = {"type": "file", "path": self.file_name, "size": len(self.content), "oid": blob}
        api = f"/api/datasets/{self.repository}"
        if path.startswith(f"{api}/tree"):
            return 200, json.dumps([listed]).encode(), {"Content-Type": "application/json"}
        if path.startswith(api):
            known = {"id": self.repository, "sha": COMMIT, "siblings": [{"rfilename": self.file_name}], "tags": []}
            return 200, json.dumps(known).encode(), {"Content-Type": "application/json"}
        if path.startswith(f"/datasets/{self.repository}/resolve/") and path.endswith(f"/{self.file_name}"):
            return 200, self.content, {"ETag": f'"{blob}"', "X-Repo-Commit": COMMIT}
        code = "EntryNotFound" if self.repository in path else "RepoNotFound"
        return 404, b"", {"X-Error-Code": code, "X-Repo-Commit": COMMIT}


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """The hub, answering at `hub.endpoint` while the block runs."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            hub.tokens.add(self.headers.get("Authorization"))
            status, body, headers = hub.answer(self.path.partition("?")[0])
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
