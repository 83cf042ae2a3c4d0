"""From a model's name to a local folder: a folder stays itself, a repository name becomes a hub snapshot.

Downloads go through the hubs' own clients, which resume and check what they fetch. Knows nothing about what the
files mean; `weight_files` judges them. The clients' own variables
(HF_ENDPOINT, HF_HOME, …) are honoured by them.
"""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import SecretStr

from tunesmith import env, extras
from tunesmith.config.model import ModelSettings
from tunesmith.errors import ModelError

_REPOSITORY = re.compile(r"[\w.-]+(/[\w.-]+)?")
# Files of a repository that are never needed to train with PyTorch: other frameworks, other formats, raw originals.
_OTHER_FORMATS = ["*.h5", "*.msgpack", "*.onnx*", "*.gguf", "*.tflite", "*.mlmodel", "*.pth", "*.tar*"]
_NEVER_NEEDED = [*_OTHER_FORMATS, "original/*", "onnx/*", "metal/*", "openvino/*", "consolidated*"]
_SAFETENSORS = ["*.safetensors"]
_OLDER_WEIGHTS = ["*.bin", "*.pt"]


def locate(name: str, settings: ModelSettings) -> Path:
    """The folder that holds the model (or adapter) `name`: itself, or the snapshot of a hub repository.

    Raises ModelError with the cure if there is no such folder or repository, if it is gated, or if it is not in the
    cache and the hub cannot be reached.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        return folder.resolve()
    if folder.exists():
        raise ModelError(f"model {name!r} is a file; give the folder that holds config.json")
    if not _REPOSITORY.fullmatch(name) or name.startswith("."):
        raise ModelError(
            f"model {name!r} is neither a folder here ({folder.absolute()}) nor a repository name like Qwen/Qwen3-4B; "
            "correct the path"
        )
    if env.use_modelscope_hub():
        return _from_modelscope(name, settings)
    return _from_hugging_face(name, settings)


def _secret(given: SecretStr | None, from_environment: str | None) -> str | None:
    return given.get_secret_value() if given else from_environment


def _from_hugging_face(name: str, settings: ModelSettings) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    def fetch(allowed: list[str] | None, ignored: list[str]) -> Path:
        return Path(
            snapshot_download(
                name,
                revision=settings.model_revision,
                cache_dir=settings.cache_dir,
                token=_secret(settings.hf_hub_token, env.hugging_face_token()),
                allow_patterns=allowed,
                ignore_patterns=ignored,
            )
        )

    failures: tuple[type[Exception], ...] = (*_transport_errors(), HFValidationError, OSError, RuntimeError)
    try:
        folder = fetch(None, _NEVER_NEEDED + _SAFETENSORS + _OLDER_WEIGHTS)
        fetch(_SAFETENSORS, _NEVER_NEEDED)
        if not any(folder.glob("*.safetensors")):
            fetch(_OLDER_WEIGHTS, _NEVER_NEEDED)
    except failures as error:
        raise ModelError(_explain(error, name=name, revision=settings.model_revision)) from error
    return folder


def _transport_errors() -> tuple[type[Exception], ...]:
    """Errors of the library under the hub's client, such as a connection that breaks off.

    Which library that is (httpx, httpx2) changes with the client's version; its root error is above the client's own.
    """
    from huggingface_hub.errors import HfHubHTTPError

    return tuple(error for error in HfHubHTTPError.__mro__ if error.__name__ == "HTTPError")


def _explain(error: Exception, *, name: str, revision: str) -> str:
    """What went wrong with a download from the Hugging Face hub, and what to do about it."""
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError
    from huggingface_hub.errors import RevisionNotFoundError as NoRevisionError

    if isinstance(error, GatedRepoError):
        return (
            f"{name} is gated: ask for access on its page on the hub, then set the environment variable HF_TOKEN to a "
            "token of that account"
        )
    if isinstance(error, NoRevisionError):
        return f"{name} has no revision {revision!r}: correct model_revision (a branch, a tag or a commit)"
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"there is no folder {name!r} here, and no repository of that name on the hub (or it is private): correct "
            "the name, or set HF_TOKEN to a token that may read it"
        )
    if isinstance(error, LocalEntryNotFoundError):
        return (
            f"{name} is not in the cache, and the hub cannot be reached (offline, or HF_HUB_OFFLINE is set): connect, "
            "set HF_ENDPOINT to a mirror, set USE_MODELSCOPE_HUB=1, or give the path of a local folder in its place"
        )
    return f"downloading {name} failed: {_first_line(error)}; run the same command again, the download resumes"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def modelscope_failures() -> tuple[type[Exception], ...]:
    """What ModelScope's client raises when a download fails: its own errors have no root of their own."""
    own = vars(extras.require("modelscope.hub.errors", wanted_by="USE_MODELSCOPE_HUB=1")).values()
    kinds = (kind for kind in own if isinstance(kind, type) and issubclass(kind, Exception))
    return (OSError, ValueError, RuntimeError, *kinds)


def _from_modelscope(name: str, settings: ModelSettings) -> Path:
    modelscope = extras.require("modelscope", wanted_by="USE_MODELSCOPE_HUB=1")
    token = _secret(settings.ms_hub_token, env.modelscope_token())
    # ModelScope calls its default branch "master".
    revision = "master" if settings.model_revision == "main" else settings.model_revision
    try:
        folder = modelscope.snapshot_download(
            name, revision=revision, cache_dir=settings.cache_dir, ignore_patterns=_NEVER_NEEDED, token=token
        )
    except modelscope_failures() as error:
        raise ModelError(
            f"ModelScope has no {name} at revision {revision!r}, or cannot be reached: {_first_line(error)}; correct "
            "model_name_or_path, or set MODELSCOPE_API_TOKEN if it is private"
        ) from error
    return Path(folder)
