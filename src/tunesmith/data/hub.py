"""Datasets on a hub: Hugging Face by the datasets library, ModelScope downloaded by its own client.

Both keep what they download in their caches and go on where a download stopped. Rows come out as they stand in the
files; images stay encoded bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from tunesmith import env, extras
from tunesmith.config.model import ModelSettings
from tunesmith.data.sources import SourceRow, iterate_tables
from tunesmith.errors import DataError
from tunesmith.models.locate import modelscope_failures

_CURE = (
    "If this machine cannot reach the hub, set HF_ENDPOINT to a mirror, set USE_MODELSCOPE_HUB=1 for entries with "
    "ms_hub_url, or download the files and give their path (`dataset: my.jsonl`, or file_name in dataset_info.json)"
)


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


def iterate_hub_rows(place: HubPlace, access: HubAccess) -> Iterator[SourceRow]:
    """Every row of the dataset at `place`, downloaded if need be.

    Raises DataError where the hub cannot be reached or has no such dataset; MissingExtraError without modelscope.
    """
    repository = _download_modelscope(place, access) if place.hub == "modelscope" else place.repository
    dataset = _load(repository, place, access)
    yield from iterate_tables(dataset.with_format("arrow").iter(batch_size=256), str(place))


def _load(repository: str, place: HubPlace, access: HubAccess) -> Any:
    """The one split that `place` names, of a Hugging Face repository or of a folder laid out like one."""
    import datasets
    import httpx

    try:
        return datasets.load_dataset(
            repository,
            name=place.subset,
            data_dir=place.folder,
            split=place.split,
            cache_dir=access.cache_dir,
            token=access.hugging_face_token,
        )
    except (OSError, ValueError, RuntimeError, httpx.HTTPError, datasets.exceptions.DatasetsError) as error:
        raise DataError(f"{place} cannot be loaded: {type(error).__name__}: {error}\n{_CURE}") from error


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
