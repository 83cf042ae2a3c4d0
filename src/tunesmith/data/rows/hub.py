"""Datasets on a hub: Hugging Face by the datasets library, ModelScope downloaded by its own client.

Both keep what they download in their caches and go on where a download stopped. A dataset is opened whole (downloaded
and, for kinds other than JSON, CSV and text, kept as memory-mapped Arrow files), or as a stream: a list of files, each
downloaded when it is due. Images stay encoded bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

from tunesmith import env, extras
from tunesmith.config.model import ModelSettings
from tunesmith.data.rows.sources import DataFile
from tunesmith.data.store.arrow_rows import ArrowRows, write_stream
from tunesmith.data.store.kinds import ENDINGS, kind_of
from tunesmith.errors import DataError
from tunesmith.models.files.locate import modelscope_failures

_CURE = (
    "If this machine cannot reach the hub, set HF_ENDPOINT to a mirror, set USE_MODELSCOPE_HUB=1 for entries with "
    "ms_hub_url, or download the files and give their path (`dataset: my.jsonl`, or file_name in dataset_info.json)"
)
_HUB_FILE = "hf://datasets/"
_SCHEMA_FREE_KINDS = {"json", "csv", "text"}
"""Read as they stand: Arrow would refuse rows whose keys or types differ."""


@dataclass(frozen=True, slots=True)
class HubPlace:
    """A dataset on a hub: repository, and which part of it."""

    hub: Literal["huggingface", "modelscope"]
    repository: str
    subset: str | None = None
    split: str = "train"
    folder: str | None = None

    def __str__(self) -> str:
        part = "/".join(name for name in (self.subset, self.split) if name)
        return f"{self.hub}:{self.repository} [{part}]"


@dataclass(frozen=True, slots=True, repr=False)
class HubAccess:
    """Where downloads are kept, and the tokens; never printed."""

    cache_dir: str | None = None
    hugging_face_token: str | None = None
    modelscope_token: str | None = None


def hub_access(model: ModelSettings) -> HubAccess:
    """Cache folder and tokens from the settings, tokens from the environment where the settings have none."""
    return HubAccess(
        cache_dir=model.cache_dir,
        hugging_face_token=model.hf_hub_token.get_secret_value() if model.hf_hub_token else env.hugging_face_token(),
        modelscope_token=model.ms_hub_token.get_secret_value() if model.ms_hub_token else env.modelscope_token(),
    )


@dataclass(frozen=True, slots=True)
class HubFile:
    """One file of a Hugging Face repository at one commit."""

    repository: str
    commit: str
    path: str
    access: HubAccess

    def fetch(self) -> Path:
        """Its copy in the hub's cache; what is there is not asked for again. Raises DataError."""
        import huggingface_hub

        with _named(f"{self.path} of {self.repository}", "downloaded"):
            local = huggingface_hub.hf_hub_download(
                self.repository,
                self.path,
                repo_type="dataset",
                revision=self.commit,
                cache_dir=Path(self.access.cache_dir) if self.access.cache_dir else None,
                token=self.access.hugging_face_token,
            )
        return Path(local)

    def version(self) -> str:
        """Repository, commit and path: the content of a commit never changes."""
        return f"{self.repository}@{self.commit}/{self.path}"


def list_hub_files(place: HubPlace, access: HubAccess) -> tuple[DataFile, ...]:
    """The files of the split that `place` names, in order; none of a Hugging Face repository is downloaded.

    Raises DataError where the hub cannot be reached, has no such dataset, or keeps it in files that are not read;
    MissingExtraError without modelscope.
    """
    return _stream_files(_open_builder(place, access), place, access)


def load_hub_files(place: HubPlace, access: HubAccess) -> tuple[DataFile, ...]:
    """The files on this machine that hold the split, downloaded if need be. Raises as list_hub_files."""
    builder = _open_builder(place, access)
    named = (builder.config.data_files or {}).get(place.split) or ()
    if named and {kind_of(name) for name in named} <= _SCHEMA_FREE_KINDS:
        files = _stream_files(builder, place, access)
        return tuple(DataFile(file.name, file.local_path()) for file in files)
    return _arrow_files(builder, place)


def _open_builder(place: HubPlace, access: HubAccess) -> Any:
    """What the datasets library knows of the repository, or of a folder laid out like one: its files by split."""
    import datasets

    repository = _download_modelscope(place, access) if place.hub == "modelscope" else place.repository
    with _named(str(place), "loaded"):
        return datasets.load_dataset_builder(
            repository,
            name=place.subset,
            data_dir=place.folder,
            cache_dir=access.cache_dir,
            token=access.hugging_face_token,
        )


def _stream_files(builder: Any, place: HubPlace, access: HubAccess) -> tuple[DataFile, ...]:
    by_split = builder.config.data_files or {}
    named: Sequence[str] = by_split.get(place.split) or ()
    if not named:
        splits = ", ".join(str(split) for split in by_split) or "none"
        raise DataError(f"{place} has no files for this split (it has {splits}); set `split` in dataset_info.json")
    strange = next((name for name in named if not kind_of(name)), None)
    if strange is not None:
        raise DataError(f"{place} keeps its rows in files like {strange}, which are not read; expected {ENDINGS}")
    return tuple(_data_file(name, place, access) for name in named)


def _data_file(name: str, place: HubPlace, access: HubAccess) -> DataFile:
    """A file as the datasets library names it: hf://datasets/REPOSITORY@COMMIT/PATH, or a local path."""
    if not name.startswith(_HUB_FILE):
        return DataFile(name, Path(name))
    repository, _, rest = name.removeprefix(_HUB_FILE).partition("@")
    commit, _, path = rest.partition("/")
    return DataFile(f"{place.hub}:{repository}/{path}", HubFile(repository, commit, path, access))


def _arrow_files(builder: Any, place: HubPlace) -> tuple[DataFile, ...]:
    with _named(str(place), "loaded"):
        builder.download_and_prepare()
        dataset = builder.as_dataset(split=place.split)
    paths = [Path(file["filename"]) for file in dataset.cache_files]
    counts = [sum(ArrowRows(path).counts()) for path in paths]
    if sum(counts) != len(dataset):  # a part of a split, like train[:10%]
        paths, counts = [_keep_part(dataset, builder, place)], [len(dataset)]
    starts = accumulate(counts, initial=0)
    return tuple(DataFile(str(place), path, first_row=start) for path, start in zip(paths, starts, strict=False))


def _keep_part(dataset: Any, builder: Any, place: HubPlace) -> Path:
    """The rows of `dataset` as an Arrow file of their own in the cache folder."""
    key = hashlib.blake2b(f"{builder.cache_dir} {place}".encode(), digest_size=16).hexdigest()
    path = env.cache_folder() / "hub" / f"{key}.arrow"
    if not path.is_file():
        write_stream(dataset.with_format("arrow").iter(batch_size=256), path)
    return path


def _download_modelscope(place: HubPlace, access: HubAccess) -> str:
    """The folder that ModelScope's client keeps the repository in.

    Its own reader (MsDataset) is not used: it wants a second set of packages, and versions of `datasets` that end
    below ours.
    """
    modelscope = extras.require("modelscope", wanted_by=f"the dataset {place.repository} on ModelScope")
    try:
        folder = modelscope.dataset_snapshot_download(
            place.repository, cache_dir=access.cache_dir, token=access.modelscope_token
        )
    except modelscope_failures() as error:
        raise DataError(f"{place} cannot be downloaded: {type(error).__name__}: {error}\n{_CURE}") from error
    return str(folder)


@contextmanager
def _named(what: str, wanted: str) -> Iterator[None]:
    """Failures of the hub's clients as one DataError that says what was `wanted` of `what`."""
    import datasets
    import httpx

    try:
        yield
    except (OSError, ValueError, RuntimeError, httpx.HTTPError, datasets.exceptions.DatasetsError) as error:
        raise DataError(f"{what} cannot be {wanted}: {type(error).__name__}: {error}\n{_CURE}") from error
