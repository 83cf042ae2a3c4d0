from __future__ import annotations

import json
from pathlib import Path

import torch

from tunesmith.chat.template import ChatTemplate
from tunesmith.export.carried import adjust_config, carry_template

CHATML = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<|a|>{% endif %}"
)


def test_a_template_that_writes_the_same_leaves_the_models_own(tmp_path: Path) -> None:
    same = ChatTemplate(CHATML.replace("m.", "m . "))
    assert carry_template(tmp_path, used=same, own=ChatTemplate(CHATML)) is False
    assert [*tmp_path.iterdir()] == []


def test_another_template_replaces_it(tmp_path: Path) -> None:
    (tmp_path / "chat_template.json").write_text("{}")
    used = ChatTemplate(CHATML.replace("\n", "<|end|>\n"))
    assert carry_template(tmp_path, used=used, own=ChatTemplate(CHATML)) is True
    assert carry_template(tmp_path, used=used, own=None) is True
    assert (tmp_path / "chat_template.jinja").read_text() == used.source
    assert [file.name for file in tmp_path.iterdir()] == ["chat_template.jinja"]


def test_beside_a_processor_of_remote_code_it_goes_where_the_tokenizer_has_it(tmp_path: Path) -> None:
    """MiniCPM-V's published processor refuses a template of its own, which transformers 4 reads from a file."""
    (tmp_path / "preprocessor_config.json").write_text('{"auto_map": {"AutoProcessor": "processing.Processor"}}')
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "e", "chat_template": "x"}')
    used = ChatTemplate(CHATML)
    assert carry_template(tmp_path, used=used, own=None) is True
    written = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert written == {"eos_token": "e", "chat_template": used.source}
    assert not (tmp_path / "chat_template.jinja").exists()


def test_a_difference_in_the_generation_prompt_alone_counts(tmp_path: Path) -> None:
    used = ChatTemplate(CHATML.replace("<|a|>", "<|b|>"))
    assert carry_template(tmp_path, used=used, own=ChatTemplate(CHATML)) is True


def test_config_says_what_changed_and_nothing_else(tmp_path: Path) -> None:
    config = {"model_type": "x", "dtype": "float32", "tie_word_embeddings": True, "text_config": {"dtype": "float32"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    before = (tmp_path / "config.json").read_bytes()
    adjust_config(tmp_path, untied=False, dtype=None)
    assert (tmp_path / "config.json").read_bytes() == before
    adjust_config(tmp_path, untied=True, dtype=torch.bfloat16)
    expected = {"dtype": "bfloat16", "tie_word_embeddings": False, "text_config": {"dtype": "bfloat16"}}
    assert json.loads((tmp_path / "config.json").read_text()) == config | expected


def test_a_difference_beside_a_picture_alone_counts(tmp_path: Path) -> None:
    picture = "{% for p in m.content %}{{ p.text if p.type == 'text' else '<image>' }}{% endfor %}"
    source = CHATML.replace(
        "{{ m.content }}", f"{{% if m.content is string %}}{{{{ m.content }}}}{{% else %}}{picture}{{% endif %}}"
    )
    own = ChatTemplate(source.replace("<image>", "<image>\\n"))
    assert carry_template(tmp_path, used=ChatTemplate(source), own=ChatTemplate(source)) is False
    assert carry_template(tmp_path, used=ChatTemplate(source), own=own) is True
