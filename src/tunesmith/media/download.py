"""Media given by URL: downloaded once, kept in the cache folder, within limits of time, size and redirects.

Only the standard library: which httpx comes with huggingface-hub changes with its version. Proxies are taken from the
environment, as everywhere. Knows nothing of what the bytes are.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib import request
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from tunesmith import env
from tunesmith.errors import DataError

MAX_REDIRECTS = 5
_CHUNK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class UrlLimits:
    """`url_timeout_s` and `url_max_bytes`: seconds one download may take in all, and bytes a file may have."""

    timeout_s: float = 20.0
    max_bytes: int = 200_000_000


DEFAULT_LIMITS = UrlLimits()


def download_folder() -> Path:
    """Where downloads are kept, each under the hash of its URL; it may not exist yet."""
    return env.cache_folder() / "downloads"


def download(url: str, *, limits: UrlLimits) -> Path:
    """The local copy of what `url` (http or https) gives, downloaded if it is not there yet.

    Safe with many processes: each writes a file of its own and renames it. Raises DataError for a status other than
    2xx, more than MAX_REDIRECTS redirects or one to another scheme, a body beyond `limits` or shorter than announced.
    """
    path = download_folder() / (hashlib.blake2b(url.encode(), digest_size=20).hexdigest() + _suffix(url))
    if not path.is_file():
        _within(limits.timeout_s, url, lambda deadline: _store(url, path, limits.max_bytes, deadline))
    return path


class _Redirects(request.HTTPRedirectHandler):
    max_redirections = MAX_REDIRECTS
    max_repeats = 1  # a URL that comes back is a loop: no cookies are kept that could change the answer


def _within(timeout_s: float, url: str, work: Callable[[float], None]) -> None:
    """Run `work(deadline)` and wait for at most `timeout_s`; every way in which it fails becomes a DataError.

    In a thread of its own: looking up a name and a server that sends its headers byte by byte know no time limit. A
    thread left behind ends by itself, at its deadline or when its socket times out.
    """
    done: Future[None] = Future()

    def run() -> None:
        try:
            work(time.monotonic() + timeout_s)
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            done.set_exception(error)
        else:
            done.set_result(None)

    threading.Thread(target=run, name="tunesmith-download", daemon=True).start()
    try:
        done.result(timeout_s)
    except DataError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise DataError(f"{url}: {_explain(error, timeout_s)}") from None


def _explain(error: Exception, timeout_s: float) -> str:
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, TimeoutError):
        return f"not downloaded within {timeout_s:g} s (url_timeout_s)"
    if isinstance(error, HTTPError):
        return f"the server answers {error.code} {error.reason}"
    return f"cannot be downloaded ({reason or type(error).__name__})"


def _store(url: str, path: Path, max_bytes: int, deadline: float) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=path.parent, prefix="part-")
    except OSError as error:
        raise DataError(
            f"{path.parent}: downloads cannot be kept there ({error.strerror}); set TUNESMITH_CACHE to a folder that "
            "can be written"
        ) from None
    try:
        with os.fdopen(handle, "wb") as file:
            _receive(url, file, max_bytes, deadline)
        Path(part).replace(path)
    finally:
        Path(part).unlink(missing_ok=True)


def _receive(url: str, file: BinaryIO, max_bytes: int, deadline: float) -> None:
    wanted = request.Request(url, headers={"User-Agent": "tunesmith"})
    with _opener().open(wanted, timeout=max(deadline - time.monotonic(), 0.001)) as response:
        announced = response.headers.get("Content-Length")
        if announced is not None and int(announced) > max_bytes:
            raise DataError(f"{url}: {announced} bytes; at most {max_bytes} are taken (url_max_bytes)")
        num_bytes = 0
        while chunk := response.read1(_CHUNK_BYTES):
            num_bytes += file.write(chunk)
            if num_bytes > max_bytes:
                raise DataError(f"{url}: more than {max_bytes} bytes (url_max_bytes)")
            if time.monotonic() > deadline:
                raise TimeoutError
    if announced is not None and num_bytes < int(announced):
        raise DataError(f"{url}: the connection broke off after {num_bytes} of {announced} bytes")


def _opener() -> request.OpenerDirector:
    """Like urllib's own, without the handlers of file:, ftp: and data: that a redirect could lead to."""
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler,
        request.HTTPHandler,
        request.HTTPSHandler,
        request.HTTPDefaultErrorHandler,
        request.HTTPErrorProcessor,
        request.UnknownHandler,
        _Redirects,
    ):
        opener.add_handler(handler())
    return opener


def _suffix(url: str) -> str:
    """The URL's file suffix: some formats (raw AAC, for one) are recognised by it."""
    suffix = Path(urlsplit(url).path).suffix.lower()
    return suffix if suffix[1:].isalnum() and len(suffix) <= 6 and suffix.isascii() else ""
