"""Rewards by a model that stage rm trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tunesmith.chat.message import Conversation, Message, Text
from tunesmith.config.settings import Settings
from tunesmith.errors import UsageError
from tunesmith.infer.reward import RewardModel
from tunesmith.train.grpo.rewards.reward import DrawnAnswer


@dataclass(frozen=True, slots=True)
class LearnedReward:
    """`reward_model`: what the model thinks of the conversation that ends with the answer."""

    model: RewardModel
    name: str = "reward_model"
    needs_reference: bool = False

    def score(self, answers: Sequence[DrawnAnswer]) -> list[float | None]:
        """The model's scores. It cannot judge an empty answer, which is worth what the worst of the others is."""
        told = [answer for answer in answers if answer.text.strip()]
        scores = iter(self.model.scores([_ended(answer) for answer in told]))
        given = [next(scores) if answer.text.strip() else None for answer in answers]
        worst = min((score for score in given if score is not None), default=None)
        return [worst if score is None else score for score in given]


def _ended(answer: DrawnAnswer) -> Conversation:
    message = Message("assistant", (Text(answer.text),))
    return replace(answer.conversation, messages=(*answer.conversation.messages, message))


def load_learned_reward(settings: Settings) -> LearnedReward:
    """The model that `reward_model` names, with its adapters, in evaluation mode. Raises ModelError, UsageError."""
    grpo = settings.grpo
    if grpo.reward_model is None:
        raise UsageError("reward_funcs: reward_model is named, and reward_model does not say which; give its folder")
    model = RewardModel.load(
        grpo.reward_model,
        adapters=grpo.reward_model_adapters,
        quantization_bit=grpo.reward_model_quantization_bit,
        use_cpu=settings.training.use_cpu,
    )
    return LearnedReward(model)
