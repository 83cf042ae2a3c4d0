"""What is cut from a conversation that is too long: exchanges, then turns, then text, never media."""

from __future__ import annotations

from tunesmith.chat.message import Conversation, Media, Message, Text, ToolCall
from tunesmith.data.encoding.truncate import CUT_MARK, cut_to_fit

IMAGE = Media("image", "a.png")
IMAGE_TOKENS = 50


def measure(conversation: Conversation) -> int:
    """A token a character, five a turn, fifty an image."""
    texts = sum(len(message.text) + 5 for message in conversation.messages)
    return texts + IMAGE_TOKENS * sum(1 for _ in conversation.media())


def user(text: str, *media: Media) -> Message:
    return Message("user", (*media, Text(text)))


def assistant(text: str) -> Message:
    return Message("assistant", (Text(text),))


SYSTEM = Message("system", (Text("be kind"),))
LONG = Conversation(
    (SYSTEM, user("one"), assistant("1" * 10), user("two", IMAGE), assistant("2" * 10), user("three"), assistant("3"))
)


def roles_and_texts(conversation: Conversation) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in conversation.messages]


def test_the_newest_exchanges_go_first_and_the_system_message_stays() -> None:
    cut = cut_to_fit(LONG, limit=40, measure=measure)
    assert cut is not None
    assert roles_and_texts(cut.conversation) == [("system", "be kind"), ("user", "one"), ("assistant", "1" * 10)]
    assert (cut.kind, cut.detail) == ("turns", "2 of 3 exchanges cut")


def test_as_many_exchanges_as_fit_are_kept() -> None:
    cut = cut_to_fit(LONG, limit=measure(LONG) - 1, measure=measure)
    assert cut is not None
    assert cut.conversation.messages == LONG.messages[:5]


def test_with_mask_history_the_oldest_exchanges_go() -> None:
    cut = cut_to_fit(LONG, limit=40, measure=measure, keep_last=True)
    assert cut is not None
    assert cut.conversation.messages == (SYSTEM, *LONG.messages[5:])


def test_tool_turns_go_whole_down_to_the_first_answer() -> None:
    call = Message("assistant", (Text("looking"),), tool_calls=(ToolCall("search", {}),))
    chain = Conversation((user("find"), call, Message("tool", (Text("r" * 200),)), assistant("found")))

    cut = cut_to_fit(chain, limit=60, measure=measure)

    assert cut is not None
    assert cut.conversation.messages == (user("find"), call)
    assert (cut.kind, cut.detail) == ("turns", "2 turns of one exchange cut")


def test_a_single_long_question_loses_its_middle() -> None:
    question = "".join(chr(ord("a") + index % 26) for index in range(400))
    cut = cut_to_fit(Conversation((user(question), assistant("yes"))), limit=200, measure=measure)

    assert cut is not None and cut.kind == "text"
    kept = cut.conversation.messages[0].text
    head, tail = kept.split(CUT_MARK)
    assert question.startswith(head) and question.endswith(tail) and abs(len(head) - len(tail)) <= 1
    assert measure(cut.conversation) == 200
    assert cut.conversation.messages[1] == assistant("yes")


def test_the_longest_prompt_text_is_the_one_that_is_cut() -> None:
    conversation = Conversation((Message("user", (Text("q" * 80), IMAGE, Text("t" * 300))), assistant("a")))
    cut = cut_to_fit(conversation, limit=250, measure=measure)
    assert cut is not None
    first, image, second = cut.conversation.messages[0].parts
    assert first == Text("q" * 80) and image == IMAGE
    assert isinstance(second, Text) and len(second.text) < 300


def test_a_long_answer_loses_its_end_and_the_question_stays_whole() -> None:
    question = "q" * 100
    cut = cut_to_fit(Conversation((user(question), assistant("x" * 900))), limit=300, measure=measure)
    assert cut is not None
    assert roles_and_texts(cut.conversation) == [("user", question), ("assistant", "x" * 190)]
    assert cut.detail == "the end of an answer cut"


def test_question_and_answer_are_both_cut_when_neither_alone_is_enough() -> None:
    cut = cut_to_fit(Conversation((user("q" * 500), assistant("x" * 500))), limit=150, measure=measure)
    assert cut is not None
    assert measure(cut.conversation) == 150
    assert cut.detail == "the middle of a prompt's text and the end of an answer cut"


def test_thoughts_written_into_an_answer_stay_closed() -> None:
    answer = "<think>" + "t" * 50 + "</think>" + "x" * 500
    cut = cut_to_fit(Conversation((user("q"), assistant(answer))), limit=100, measure=measure)
    assert cut is not None
    assert cut.conversation.messages[1].text.startswith("<think>" + "t" * 50 + "</think>x")
    assert cut_to_fit(Conversation((user("q"), assistant(answer))), limit=50, measure=measure) is None


def test_images_are_never_cut() -> None:
    assert cut_to_fit(Conversation((user("q", IMAGE), assistant("a"))), limit=40, measure=measure) is None


def test_what_was_cut_before_the_text_is_told_too() -> None:
    conversation = Conversation((user("q" * 300), assistant("a"), user("more"), assistant("b")))
    cut = cut_to_fit(conversation, limit=200, measure=measure)
    assert cut is not None
    assert cut.detail == "1 of 2 exchanges and the middle of a prompt's text cut"
