"""The encoding cache: what is kept comes back, whatever other processes, kills, bad files and full disks do."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.data.conversations import build_encoder
from tunesmith.chat.message import Media, RowSource
from tunesmith.config.data import DataSettings
from tunesmith.data.cache.cache_file import CacheFile
from tunesmith.data.cache.cached_example import CachedExample, pack_example, unpack_example
from tunesmith.data.cache.encodings import CachedRow, clear_caches, list_caches, open_cache, row_key
from tunesmith.data.cache.media_stamps import StampedMedia
from tunesmith.data.encoding.encoded import IGNORED, Encoded, RowMedia
from tunesmith.data.store.address import RowRef
from tunesmith.errors import UsageError
from tunesmith.models.preprocessing.processor import Preprocessor

PreprocessorOf = Callable[[str], Preprocessor]

REF, SOURCE = RowRef(0, 1, 2, (30, 40)), RowSource("rows.jsonl", 2)
VALUES = {bytes([number]) * 16: bytes([number]) * 300 for number in range(200)}


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def example(**changes: object) -> CachedExample:
    ids = np.array([7, 8, 9, 9, 9, 5, 6], np.int32)
    encoded = Encoded(
        input_ids=ids,
        labels=np.array([IGNORED, 8, IGNORED, IGNORED, IGNORED, 5, 6], np.int32),
        token_types=np.array([0, 0, 1, 1, 2, 0, 0], np.int8),
        media=(Media("image", "/pictures/ä.png"), RowMedia("image", 2)),
        num_media_tokens=3,
        truncated=True,
        source=SOURCE,
        ref=REF,
    )
    media = (
        StampedMedia(Media("image", "/pictures/ä.png"), ((0, 10, 99),)),
        StampedMedia(Media("video", ("/frames/0.png", "/frames/1.png")), ((0, 3, 5), (0, 4, 6))),
        StampedMedia(RowMedia("image", 2), ()),
    )
    return CachedExample(replace(encoded, **changes), media, (True, False, True), "text cut: the end of an answer cut")


def assert_same(left: CachedExample, right: CachedExample) -> None:
    for name in ("input_ids", "labels", "token_types"):
        ours, theirs = getattr(left.encoded, name), getattr(right.encoded, name)
        assert ours.dtype == theirs.dtype and np.array_equal(ours, theirs)
    assert (left.media, left.kept, left.cut) == (right.media, right.kept, right.cut)
    assert left.encoded.media == right.encoded.media and left.encoded.num_media_tokens == right.encoded.num_media_tokens
    assert (left.encoded.truncated, left.encoded.source, left.encoded.ref) == (
        right.encoded.truncated,
        right.encoded.source,
        right.encoded.ref,
    )


def test_an_example_comes_back_as_it_was() -> None:
    whole = example()
    assert_same(unpack_example(pack_example(whole), ref=REF, source=SOURCE), whole)


def test_text_rows_take_four_bytes_a_token_and_little_more() -> None:
    ids = np.arange(1000, dtype=np.int32)
    labels = np.where(ids < 400, np.int32(IGNORED), ids)
    encoded = Encoded(ids, labels, None, (), 0, False, SOURCE, REF)
    assert len(pack_example(CachedExample(encoded, (), (), None))) < 4 * 1000 + 40


def test_what_is_kept_is_found_and_nothing_else(tmp_path: Path) -> None:
    file = CacheFile(tmp_path / "a.sqlite")
    file.keep(VALUES)
    assert CacheFile(tmp_path / "a.sqlite").find([*VALUES, b"other"]) == VALUES
    file.keep({bytes(16): b"new"})
    assert file.find([bytes(16)]) == {bytes(16): b"new"}


def test_entries_from_before_are_not_seen_when_they_are_to_be_made_anew(tmp_path: Path) -> None:
    CacheFile(tmp_path / "a.sqlite").keep({b"old": b"1", b"both": b"1"})
    anew = CacheFile(tmp_path / "a.sqlite", since_ns=time.time_ns())
    assert anew.find([b"old", b"both"]) == {}
    anew.keep({b"both": b"2"})
    assert anew.find([b"old", b"both"]) == {b"both": b"2"}


def _hammer(path: Path, number: int) -> None:
    file = CacheFile(path)
    for turn in range(30):
        keys = [bytes([number, turn, index]) for index in range(20)]
        file.keep({key: key * 50 for key in keys})
        file.keep({b"shared": bytes([number]) * 1000})
        assert file.find(keys) == {key: key * 50 for key in keys}
        assert len(set(file.find([b"shared"])[b"shared"])) == 1
    file.close()


def test_many_processes_use_one_file(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    CacheFile(path).keep(VALUES)  # a connection is open here when the others are forked
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=_hammer, args=(path, number)) for number in range(4)]
    for worker in workers:
        worker.start()
    _hammer(path, 9)
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0] * 4
    keys = [bytes([number, turn, index]) for number in (0, 1, 2, 3, 9) for turn in range(30) for index in range(20)]
    assert len(CacheFile(path).find(keys)) == len(keys)


KILLED = """
    import sys, time
    from collections import UserDict
    from pathlib import Path
    from tunesmith.data.cache.cache_file import CacheFile

    class Endless(UserDict):
        def items(self):
            for number in range(30_000):  # more than SQLite holds back in memory
                yield number.to_bytes(16), bytes(1000)
            print("in the middle", flush=True)
            time.sleep(600)

    file = CacheFile(Path(sys.argv[1]))
    file.keep({b"before": b"whole"})
    file.keep(Endless({b"x": b"y"}))
"""


def run_python(script: str, *arguments: str | Path, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload]


def test_a_writer_killed_in_the_middle_leaves_nothing_half_done(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    writer = run_python(KILLED, path)
    assert writer.stdout is not None and writer.stdout.readline() == "in the middle\n"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    file = CacheFile(path)
    assert file.find([b"before", *(number.to_bytes(16) for number in range(100))]) == {b"before": b"whole"}
    file.keep(VALUES)
    assert file.find(list(VALUES)) == VALUES


@pytest.mark.parametrize("content", [b"garbage" * 1000, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_file_is_replaced(content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.sqlite"
    path.write_bytes(content)
    file = CacheFile(path)
    with caplog.at_level("INFO", logger="tunesmith"):
        assert file.find(list(VALUES)) == {}
    assert "is damaged" in caplog.text
    file.keep(VALUES)
    assert file.find(list(VALUES)) == VALUES


def test_a_changed_byte_of_an_entry_hides_that_entry(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    file = CacheFile(path)
    file.keep(VALUES)
    file.close()
    whole = path.read_bytes()
    place = whole.index(bytes([77]) * 300)
    path.write_bytes(whole[: place + 100] + b"x" + whole[place + 101 :])
    assert CacheFile(path).find(list(VALUES)) == {key: value for key, value in VALUES.items() if value[0] != 77}


WITHOUT_RIGHTS = """
    import os, sys
    from pathlib import Path
    from tunesmith.data.cache.cache_file import CacheFile

    file = CacheFile(Path(sys.argv[1]))
    if os.geteuid() == 0:
        os.setuid(65534)
    file.keep({b"b": b"2"})
    print(file.find([b"a", b"b"]))
"""


def test_a_read_only_cache_is_still_read() -> None:
    with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are closed to other users
        path = Path(folder) / "a.sqlite"
        CacheFile(path).keep({b"a": b"1"})
        path.chmod(0o444)
        Path(folder).chmod(0o555)
        reader = run_python(WITHOUT_RIGHTS, path)
        assert reader.communicate()[0] == "{b'a': b'1'}\n"
        Path(folder).chmod(0o755)


FULL_DISK = """
    import resource, sys
    from pathlib import Path
    from tunesmith.data.cache.cache_file import CacheFile

    file = CacheFile(Path(sys.argv[1]))
    file.keep({b"a": b"1"})
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    file.keep({number.to_bytes(16): bytes(1000) for number in range(1000)})
    file.keep({b"c": b"3"})
    print(file.find([b"a", b"c"]))
"""


def test_a_full_disk_stops_the_writing_only(tmp_path: Path) -> None:
    assert run_python(FULL_DISK, tmp_path / "a.sqlite").communicate()[0] == "{b'a': b'1'}\n"


def test_a_folder_that_cannot_be_made_is_done_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    file = CacheFile(tmp_path / "file" / "a.sqlite")
    with caplog.at_level("INFO", logger="tunesmith"):
        file.keep(VALUES)
        assert file.find(list(VALUES)) == {}
    assert "the encoding cache" in caplog.text


def test_the_folder_stays_below_its_limit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = CacheFile(tmp_path / "a.sqlite", max_bytes=100_000)
    with caplog.at_level("INFO", logger="tunesmith"):
        for number in range(30):
            file.keep({number.to_bytes(16): bytes(10_000)})
    assert caplog.text.count("no more rows are kept") == 1
    assert (tmp_path / "a.sqlite").stat().st_size < 120_000
    assert file.find([bytes(16)]) == {bytes(16): bytes(10_000)}


def test_a_file_deleted_while_in_use_is_begun_anew(tmp_path: Path) -> None:
    file = CacheFile(tmp_path / "a.sqlite")
    file.keep(VALUES)
    (tmp_path / "a.sqlite").unlink()
    assert file.find(list(VALUES)) == {}
    file.keep({b"a": b"1"})
    assert CacheFile(tmp_path / "a.sqlite").find([b"a"]) == {b"a": b"1"}


def test_a_cache_is_listed_and_cleared(preprocessor_of: PreprocessorOf, cache_folder: Path) -> None:
    encoder = build_encoder(preprocessor_of("qwen2"))
    cache = open_cache(encoder, DataSettings())
    assert cache is not None
    row = CachedRow(row_key(b"{}", "layout"), REF, SOURCE)
    cache.keep({row.key: example()})
    assert_same(cache.find([row])[REF], example())
    (info,) = list_caches()
    assert (info.name, info.num_rows) == (encoder.key, 1) and info.num_bytes == info.path.stat().st_size
    with pytest.raises(UsageError, match="names 0 encoding caches"):
        clear_caches("nothing")
    assert [gone.name for gone in clear_caches(info.name[:8])] == [info.name]
    assert cache.find([row]) == {} and [info.num_rows for info in list_caches()] == [0]
    assert len(clear_caches()) == 1 and list_caches() == []


def test_the_switch_touches_no_file(preprocessor_of: PreprocessorOf, cache_folder: Path) -> None:
    assert open_cache(build_encoder(preprocessor_of("qwen2")), DataSettings(encoding_cache=False)) is None
    assert not cache_folder.exists()


@pytest.mark.parametrize(
    "changed",
    [{"cutoff_len": 77}, {"train_on_prompt": True}, {"default_system": "Be brief."}, {"template": "chatml"}],
)
def test_every_option_that_changes_ids_has_a_cache_of_its_own(
    changed: dict[str, object], preprocessor_of: PreprocessorOf
) -> None:
    preprocessor = preprocessor_of("qwen2")
    assert build_encoder(preprocessor).key == build_encoder(preprocessor, packing=True, max_samples=3).key
    assert build_encoder(preprocessor).key != build_encoder(preprocessor, **changed).key


def test_models_and_media_settings_have_caches_of_their_own(preprocessor_of: PreprocessorOf) -> None:
    own = preprocessor_of("qwen2_5_vl")
    limited = replace(own, media=own.media.model_copy(update={"video_fps": 1.0}))
    keys = {build_encoder(preprocessor).key for preprocessor in (own, limited, preprocessor_of("qwen2_vl"))}
    assert len(keys) == 3
