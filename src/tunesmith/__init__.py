"""Fine-tune text and vision-language models from one YAML file, and know whether it worked.

    import tunesmith

    result = tunesmith.train("run.yaml", learning_rate=2e-4)
    model, processor = tunesmith.load(result.run_folder)

What `__all__` lists is public, the rest is not. Importing this is cheap; torch comes with the first call.
`train` is the package tunesmith.train itself, which can be called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin

    from tunesmith import train as train

__all__ = ["__version__", "load", "train"]


def load(
    folder: str | Path, *, dtype: str | torch.dtype | None = None, device: str | torch.device | None = None
) -> tuple[PreTrainedModel | PeftModel, PreTrainedTokenizerBase | ProcessorMixin]:
    """The model and its tokenizer or processor, as training loads them.

    folder: a model folder, an adapter or a run folder (put on its base), or a repository name on the hub
    dtype:  "float32", "bfloat16", …; None keeps what the weights are stored in
    device: "cpu", "cuda:0", …; None takes the first GPU where there is one

    Raises ModelError where the folder cannot be loaded.
    """
    from tunesmith.models.folder import load_folder

    return load_folder(folder, dtype=dtype, device=device)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib import metadata

        return metadata.version("tunesmith")
    if name == "train":
        import importlib

        return importlib.import_module("tunesmith.train")
    raise AttributeError(f"module 'tunesmith' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
