"""Downloads against a real server: once, whole, and never beyond the limits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.media.web_server import CONTENT, Site, serve_site
from tunesmith.errors import DataError
from tunesmith.media.download import MAX_REDIRECTS, UrlLimits, download, download_folder

LIMITS = UrlLimits(timeout_s=10, max_bytes=100_000)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with serve_site() as running:
        yield running


def test_a_file_is_downloaded_once_and_keeps_its_suffix(site: Site) -> None:
    url = f"{site.address}/file/once.jpg?size=large"
    first, second = download(url, limits=LIMITS), download(url, limits=LIMITS)
    assert first == second
    assert (first.read_bytes(), first.suffix, first.parent) == (CONTENT, ".jpg", download_folder())
    assert site.asked.count("/file/once.jpg?size=large") == 1


def test_redirects_are_followed_up_to_the_limit(site: Site) -> None:
    assert download(f"{site.address}/hops/{MAX_REDIRECTS}", limits=LIMITS).read_bytes() == CONTENT
    with pytest.raises(DataError, match=r"/hops/6: the server answers 302 .*redirect"):
        download(f"{site.address}/hops/{MAX_REDIRECTS + 1}", limits=LIMITS)


def test_a_redirect_loop_ends(site: Site) -> None:
    with pytest.raises(DataError, match=r"/loop: the server answers 302"):
        download(f"{site.address}/loop", limits=LIMITS)
    assert site.asked.count("/loop") <= 2


def test_a_redirect_never_leads_to_a_local_file(site: Site) -> None:
    with pytest.raises(DataError, match=r"/leave: .*file:///etc/hostname"):
        download(f"{site.address}/leave", limits=LIMITS)


@pytest.mark.parametrize("path", ["drip", "silent"])
def test_the_time_limit_is_for_the_whole_download(site: Site, path: str) -> None:
    begin = time.monotonic()
    with pytest.raises(DataError, match=rf"/{path}: not downloaded within 0.4 s \(url_timeout_s\)"):
        download(f"{site.address}/{path}", limits=UrlLimits(timeout_s=0.4, max_bytes=1000))
    assert time.monotonic() - begin < 2.5  # the server would have taken 3 s


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("endless", r"more than 100000 bytes \(url_max_bytes\)"),
        ("announced", r"10000000 bytes; at most 100000 are taken \(url_max_bytes\)"),
        ("broken", r"the connection broke off after 10000 of 20000 bytes"),
        ("missing", r"the server answers 404"),
    ],
)
def test_what_goes_wrong_is_said_and_leaves_nothing_behind(site: Site, path: str, message: str) -> None:
    with pytest.raises(DataError, match=rf"/{path}: {message}"):
        download(f"{site.address}/{path}", limits=LIMITS)
    assert list(download_folder().iterdir()) == []


def test_no_server_and_no_such_scheme() -> None:
    with pytest.raises(DataError, match=r"http://127.0.0.1:9/x: cannot be downloaded \(.*refused"):
        download("http://127.0.0.1:9/x", limits=LIMITS)
    with pytest.raises(DataError, match=r"cannot be downloaded \(unknown url type: ftp\)"):
        download("ftp://127.0.0.1/x", limits=LIMITS)


def test_a_cache_folder_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"downloads cannot be kept there .* set TUNESMITH_CACHE"):
        download("http://127.0.0.1:9/x", limits=LIMITS)
