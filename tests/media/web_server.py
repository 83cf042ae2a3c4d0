"""A web server on this machine with every way in which a download goes right and wrong."""

from __future__ import annotations

import http.server
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

CONTENT = b"0123456789" * 1000


@dataclass
class Site:
    """Where the server is reached, and the paths that were asked for."""

    address: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


class _Handler(http.server.BaseHTTPRequestHandler):
    site: Site

    def do_GET(self) -> None:
        self.site.asked.append(self.path)
        name, _, rest = self.path[1:].partition("/")
        answers = {
            "file": lambda: self._send(CONTENT, len(CONTENT)),
            "hops": lambda: self._redirect(f"/hops/{int(rest) - 1}" if int(rest) > 1 else "/file"),
            "loop": lambda: self._redirect("/loop"),
            "leave": lambda: self._redirect("file:///etc/hostname"),
            "endless": lambda: self._send(CONTENT * 100, None),
            "announced": lambda: self._send(CONTENT, 10_000_000),
            "broken": lambda: self._send(CONTENT, 2 * len(CONTENT)),
            "drip": self._drip,
            "silent": lambda: time.sleep(3),
        }
        if name in self.site.files:
            self._send(self.site.files[name], len(self.site.files[name]))
        else:
            answers.get(name, lambda: self.send_error(404))()

    def _redirect(self, place: str) -> None:
        self.send_response(302)
        self.send_header("Location", place)
        self.end_headers()

    def _send(self, content: bytes, announced: int | None) -> None:
        self.send_response(200)
        if announced is not None:
            self.send_header("Content-Length", str(announced))
        self.end_headers()
        self.wfile.write(content)

    def _drip(self) -> None:
        """A byte every 50 ms: no single wait is long."""
        self.send_response(200)
        self.end_headers()
        for _ in range(60):
            self.wfile.write(b"x")
            self.wfile.flush()
            time.sleep(0.05)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            return  # the client gave up, as it should


@contextmanager
def serve_site(files: Mapping[str, bytes] | None = None) -> Iterator[Site]:
    """The server, which also gives `files` by their names, for as long as the block runs."""
    site = Site(files=files or {})
    handler = type("Handler", (_Handler,), {"site": site})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        site.address = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield site
        server.shutdown()
