"""What is asked about a picture and what is right, in English and in Chinese, and how the one is said in the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from examples.demo.scenes import NUMBERS, Scene

KINDS = ("shape", "colour", "number", "corner", "sentence")
"""What a question is about; a sentence is right only if all four facts in it are."""

IN_CHINESE = {
    "circle": "圆形",
    "square": "方形",
    "triangle": "三角形",
    "cross": "十字形",
    "red": "红色",
    "orange": "橙色",
    "yellow": "黄色",
    "green": "绿色",
    "blue": "蓝色",
    "purple": "紫色",
    "one": "一个",
    "two": "两个",
    "three": "三个",
    "four": "四个",
    "top left": "左上角",
    "top right": "右上角",
    "bottom left": "左下角",
    "bottom right": "右下角",
}


@dataclass(frozen=True, slots=True)
class Question:
    """One question about one picture, with its right answer."""

    kind: str
    text: str
    answer: str


def ask_in_english(scene: Scene) -> list[Question]:
    """Every kind of question about `scene`, in KINDS' order."""
    plural = "" if scene.number == NUMBERS[0] else "es" if scene.shape == "cross" else "s"
    return [
        Question("shape", "What shape is it?", scene.shape),
        Question("colour", "What colour is it?", scene.colour),
        Question("number", "How many are there?", scene.number),
        Question("corner", "In which corner?", scene.corner),
        Question(
            "sentence",
            "Describe the picture.",
            f"{scene.number.capitalize()} {scene.colour} {scene.shape}{plural} in the {scene.corner}.",
        ),
    ]


def ask_in_chinese(scene: Scene) -> list[Question]:
    """The same questions in Chinese, to be answered in Chinese."""
    shape, colour = IN_CHINESE[scene.shape], IN_CHINESE[scene.colour]
    number, corner = IN_CHINESE[scene.number], IN_CHINESE[scene.corner]
    return [
        Question("shape", "是什么形状?", shape),
        Question("colour", "是什么颜色?", colour),
        Question("number", "有几个?", number),
        Question("corner", "在哪个角?", corner),
        Question("sentence", "请描述这张图。", f"{number}{colour}的{shape}在{corner}。"),
    ]


LANGUAGES: dict[str, Callable[[Scene], list[Question]]] = {"english": ask_in_english, "chinese": ask_in_chinese}


def translate_sentence(scene: Scene) -> tuple[str, str]:
    """The sentence about `scene` in English and in Chinese."""
    return ask_in_english(scene)[-1].answer, ask_in_chinese(scene)[-1].answer
