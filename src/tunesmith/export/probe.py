"""The conversation both models are shown when an export is verified: text, and a picture where the model reads them."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from tunesmith.chat.dialect import places_media
from tunesmith.chat.message import Conversation, Media, Message, RowSource, Text
from tunesmith.config.settings import Settings
from tunesmith.data.batches.batch import Batch
from tunesmith.data.batches.collate import Collator
from tunesmith.data.batches.media_inputs import MediaInputs
from tunesmith.data.encoding.encoded import IGNORED, Encoded
from tunesmith.infer.open import build_encoder
from tunesmith.models.preprocessing.processor import Preprocessor

_QUESTION = "What do you see? 请用中文回答: 1 + 2 = ?"
_ANSWER = "A gradient from dark to light, and 3. 从暗到亮的渐变。"
_SIDE = 112


def build_probe(preprocessor: Preprocessor, settings: Settings) -> tuple[Batch, str]:
    """A batch of one conversation, always the same, and what to call it; of plain text where there is no template."""
    if settings.data.template is None and preprocessor.chat_template is None:
        encoded = _plain_text(preprocessor)
    else:
        encoder = build_encoder(settings, preprocessor)
        sees = preprocessor.processor is not None and places_media(encoder.template, "user", "image")
        encoded = encoder.encode(_conversation(with_picture=sees))
    name = f"{len(encoded)} tokens{' with an image' if encoded.media else ''}"
    media = [item for item in encoded.media if isinstance(item, Media)]
    return Collator(preprocessor, MediaInputs(preprocessor), packed=False)([encoded], [media]), name


def _conversation(*, with_picture: bool) -> Conversation:
    picture = (Media("image", _picture()),) if with_picture else ()
    return Conversation(
        (
            Message(role="user", parts=(*picture, Text(_QUESTION))),
            Message(role="assistant", parts=(Text(_ANSWER),)),
        )
    )


def _plain_text(preprocessor: Preprocessor) -> Encoded:
    ids = np.asarray(preprocessor.tokenizer(_QUESTION + _ANSWER).input_ids, dtype=np.int32)
    labels = np.full_like(ids, IGNORED)
    return Encoded(ids, labels, None, (), num_media_tokens=0, truncated=False, source=RowSource("<probe>", 0))


def _picture() -> bytes:
    gradient = Image.linear_gradient("L").resize((_SIDE, _SIDE)).convert("RGB")
    file = io.BytesIO()
    gradient.save(file, format="PNG")
    return file.getvalue()
