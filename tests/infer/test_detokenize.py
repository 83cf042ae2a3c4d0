from __future__ import annotations

from tunesmith.infer.detokenize import decode_pieces


def decode_bytes(ids: list[int]) -> str:
    """A tokenizer whose tokens are bytes."""
    return bytes(ids).decode("utf-8", errors="replace")


def test_a_character_of_several_tokens_comes_whole() -> None:
    assert list(decode_pieces("a你🎵".encode(), decode_bytes)) == ["a", "你", "🎵"]


def test_pieces_joined_are_the_text() -> None:
    text = "naïve café, 你好 👩‍🚀\n\ttabs and  spaces"
    assert "".join(decode_pieces(text.encode(), decode_bytes)) == text


def test_a_character_cut_off_at_the_end_is_dropped() -> None:
    cut = "ok 你".encode()[:-1]
    assert "".join(decode_pieces(cut, decode_bytes)) == "ok "


def test_bytes_that_are_no_character_do_not_hold_up_what_follows() -> None:
    assert "".join(decode_pieces(b"a\xffb", decode_bytes)) == "a\ufffdb"


def test_a_decoder_that_drops_the_first_space_keeps_those_between_words() -> None:
    words = {0: " to", 1: " be", 2: " or"}

    def decode(ids: list[int]) -> str:
        return "".join(words[token] for token in ids).removeprefix(" ")

    assert list(decode_pieces([0, 1, 2], decode)) == ["to", " be", " or"]


def test_no_ids_no_pieces() -> None:
    assert list(decode_pieces([], decode_bytes)) == []
