"""Libraries are quiet for as long as anybody wants them to be, and speak again after that."""

from __future__ import annotations

import logging

from transformers.utils import logging as transformers_logging

from tunesmith.models.quiet import quiet_transformers


def test_whoever_leaves_last_brings_back_what_was():
    before = transformers_logging.get_verbosity()
    first, second = quiet_transformers(), quiet_transformers()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert transformers_logging.get_verbosity() == logging.ERROR
    second.__exit__(None, None, None)
    assert transformers_logging.get_verbosity() == before
