"""What a model's documents have beside the row's own text, learned from its tokenizer and its chat template.

Knows nothing of rows.
"""

from __future__ import annotations

from tunesmith import log
from tunesmith.chat.document import DocumentForm, medium_form
from tunesmith.chat.template import ChatTemplate
from tunesmith.models.preprocessing.processor import Preprocessor

_SAMPLE = "Once upon a time"


def learn_document_form(preprocessor: Preprocessor, template: ChatTemplate) -> DocumentForm:
    """The beginning as the tokenizer adds it to a text, its end token, and how `template` writes media.

    Says once where the tokenizer has no end token.
    """
    end = preprocessor.tokenizer.eos_token
    if end is None:
        log.note_once("the tokenizer has no end token, so nothing in the training says where a document ends")
    media = {
        kind: medium_form(template, kind, placeholder=preprocessor.placeholder(kind)) for kind in preprocessor.kinds
    }
    return DocumentForm(document_beginning(preprocessor), end or "", media)


def document_beginning(preprocessor: Preprocessor) -> str:
    """The text that stands for what the tokenizer puts before a text; "" where it puts nothing there.

    A tokenizer that begins a text with a blank does not do so behind a written BOS: there the blank is written too.
    """
    tokenizer, bos = preprocessor.tokenizer, preprocessor.tokenizer.bos_token
    expected = tokenizer(_SAMPLE)["input_ids"]
    if bos is None or expected[:1] != [tokenizer.bos_token_id]:
        return ""
    for beginning in (bos, f"{bos} "):
        written = tokenizer(beginning + _SAMPLE, add_special_tokens=False)["input_ids"]
        if expected[: len(written)] == written:
            return beginning
    return str(bos)
