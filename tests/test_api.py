"""The public surface: what `import tunesmith` gives."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import tunesmith
from tunesmith.errors import UsageError


def test_what_is_public() -> None:
    assert set(tunesmith.__all__) == {"__version__", "load", "train"}
    assert {name for name in dir(tunesmith) if name in tunesmith.__all__} == set(tunesmith.__all__)
    assert tunesmith.__version__ == "0.1.0"
    with pytest.raises(AttributeError, match="module 'tunesmith' has no attribute 'tune'"):
        tunesmith.tune  # noqa: B018 # type: ignore[attr-defined]


def test_importing_it_is_cheap() -> None:
    program = (
        "import sys, tunesmith; sys.exit(','.join(m for m in ('torch', 'pydantic', 'yaml') if m in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_train_is_callable_before_and_after_its_package_is_imported() -> None:
    program = (
        "import tunesmith\nfrom tunesmith.errors import UsageError\n"
        "def refused():\n"
        "    try: tunesmith.train({'lerning_rate': 1})\n"
        "    except UsageError as error: return str(error)\n"
        "first = refused()\nimport tunesmith.train.objectives.objective\nassert refused() == first\nprint(first)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "settings: unknown key lerning_rate; did you mean learning_rate?\n", done.stderr


def test_train_checks_what_it_needs() -> None:
    with pytest.raises(UsageError, match="output_dir is missing"):
        tunesmith.train({"model_name_or_path": "base"}, dataset="rows.jsonl")


def test_signatures() -> None:
    assert str(inspect.signature(tunesmith.load).replace(return_annotation=inspect.Signature.empty)) == (
        "(folder: 'str | Path', *, dtype: 'str | torch.dtype | None' = None, "
        "device: 'str | torch.device | None' = None)"
    )
    assert list(inspect.signature(tunesmith.train).parameters) == ["config", "overrides"]
