"""The chunked loss equals the loss over all logits, and transformers' own: value and gradients, in float64."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from tests.train.tiny_models import TEXT_KINDS, batch_of, text_batch, tiny_model
from tunesmith.data.batches.batch import build_batch
from tunesmith.models.head import LanguageHead, LogitTransform, find_head
from tunesmith.train.objectives.loss import loss_from_hidden, loss_from_logits

KINDS = (*TEXT_KINDS, "qwen2_5_vl")


def supervised(labels):
    """What a batch with these labels hands to the loss."""
    batch = build_batch({}, labels, sources=(), num_tokens=labels.numel())
    return batch.positions, batch.targets


def _gradients(model):
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def _assert_same(ours, theirs):
    assert ours.keys() == theirs.keys()
    for name, gradient in theirs.items():
        torch.testing.assert_close(
            ours[name], gradient, rtol=1e-10, atol=1e-13, msg=lambda text, n=name: f"{n}: {text}"
        )


@pytest.mark.parametrize("chunk_tokens", [1, 4, 1000])
@pytest.mark.parametrize("kind", KINDS)
def test_value_and_gradients_equal_transformers_own_loss(kind, chunk_tokens):
    inputs, labels = batch_of(kind)
    num_supervised = int((labels[:, 1:] != -100).sum())
    reference = tiny_model(kind)
    expected = reference(**inputs, labels=labels).loss
    expected.backward()

    model = tiny_model(kind)
    head = find_head(model, inputs)
    assert isinstance(head, LanguageHead)
    loss = loss_from_hidden(
        head.hidden_states(model, inputs), *supervised(labels), head=head, chunk_tokens=chunk_tokens
    )
    (loss.loss_sum / num_supervised).backward()

    # transformers casts logits to float32 in its loss, also for float64 models
    assert (loss.loss_sum / num_supervised).item() == pytest.approx(expected.item(), abs=1e-5)
    for name, gradient in _gradients(reference).items():
        torch.testing.assert_close(_gradients(model)[name], gradient, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("chunk_tokens", [1, 4, 1000])
@pytest.mark.parametrize("kind", KINDS)
def test_value_and_gradients_equal_full_logits(kind, chunk_tokens):
    inputs, labels = batch_of(kind)
    reference = tiny_model(kind)
    logits = reference(**inputs).logits
    assert logits.dtype == torch.float64
    expected = functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100, reduction="sum"
    )
    expected.backward()

    model = tiny_model(kind)
    head = find_head(model, inputs)
    loss = loss_from_hidden(
        head.hidden_states(model, inputs), *supervised(labels), head=head, chunk_tokens=chunk_tokens
    )
    loss.loss_sum.backward()

    assert loss.loss_sum.dtype == torch.float64
    assert loss.loss_sum.item() == pytest.approx(expected.item(), abs=1e-10)
    _assert_same(_gradients(model), _gradients(reference))
    chosen = labels[:, 1:] != -100
    assert loss.num_correct == (logits[:, :-1].argmax(-1) == labels[:, 1:])[chosen].sum()


def test_a_frozen_head_gets_no_gradient_and_hidden_states_the_same_one():
    inputs, labels = text_batch()
    frozen, trained = tiny_model("qwen2"), tiny_model("qwen2")
    frozen.lm_head.weight.requires_grad_(False)
    for model in (frozen, trained):
        head = find_head(model, inputs)
        loss_from_hidden(
            head.hidden_states(model, inputs), *supervised(labels), head=head, chunk_tokens=3
        ).loss_sum.backward()
    assert frozen.lm_head.weight.grad is None
    assert torch.equal(frozen.model.layers[0].mlp.up_proj.weight.grad, trained.model.layers[0].mlp.up_proj.weight.grad)


def test_only_supervised_positions_reach_the_head():
    hidden = torch.randn(1, 5, 4, dtype=torch.float64)
    hidden[0, 0] = torch.inf  # predicts a position outside the loss
    hidden[0, 4] = torch.nan  # predicts nothing
    head = LanguageHead(module=torch.nn.Linear(4, 7, bias=False, dtype=torch.float64), transform=LogitTransform())
    labels = torch.tensor([[-100, -100, 3, 4, 5]])
    assert loss_from_hidden(hidden, *supervised(labels), head=head, chunk_tokens=2).loss_sum.isfinite()


@pytest.mark.parametrize("transform", [LogitTransform(), LogitTransform(scale=0.3), LogitTransform(0.7, softcap=1.5)])
def test_scaling_and_soft_capping_are_in_the_derivative(transform):
    torch.manual_seed(0)
    hidden = torch.randn(1, 6, 4, dtype=torch.float64, requires_grad=True)
    head = LanguageHead(module=torch.nn.Linear(4, 7, dtype=torch.float64), transform=transform)
    labels = torch.tensor([[-100, 1, 2, -100, 6, 0]])
    tensors = (hidden, head.module.weight, head.module.bias)
    ours = torch.autograd.grad(
        loss_from_hidden(hidden, *supervised(labels), head=head, chunk_tokens=3).loss_sum, tensors
    )
    theirs = torch.autograd.grad(
        loss_from_logits(head.logits(hidden), *supervised(labels), chunk_tokens=99).loss_sum, tensors
    )
    for gradient, expected in zip(ours, theirs, strict=True):
        torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-14)


def test_a_head_that_is_not_a_bare_linear_layer_goes_through_its_module():
    class Adapted(torch.nn.Linear):
        """Stands for LoRA on the head: its weight is not the whole story."""

        def forward(self, input):
            return super().forward(input) * 2

    torch.manual_seed(0)
    module = Adapted(4, 7, dtype=torch.float64)
    hidden = torch.randn(2, 6, 4, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(0, 7, (2, 6))
    head = LanguageHead(module=module, transform=LogitTransform(softcap=3.0))
    assert head.plain is None

    chunked = loss_from_hidden(hidden, *supervised(labels), head=head, chunk_tokens=4)
    whole = loss_from_logits(head.logits(hidden), *supervised(labels), chunk_tokens=1000)
    gradients = [torch.autograd.grad(loss.loss_sum, (hidden, module.weight)) for loss in (chunked, whole)]
    assert chunked.loss_sum.item() == pytest.approx(whole.loss_sum.item(), abs=1e-12)
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


class LargestTensor(TorchDispatchMode):
    """Remembers how many values the largest tensor had that any operation made, the weight's gradient aside."""

    def __init__(self, aside):
        super().__init__()
        self.aside, self.num_values = aside, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        output = func(*args, **(kwargs or {}))
        for made in output if isinstance(output, tuple | list) else [output]:
            if isinstance(made, torch.Tensor) and made.shape != self.aside:
                self.num_values = max(self.num_values, made.numel())
        return output


@pytest.mark.parametrize("num_tokens", [40, 400])
@pytest.mark.parametrize("chunk_tokens", [5, 10])
def test_the_largest_tensor_is_one_chunk_of_logits_however_long_the_batch(num_tokens, chunk_tokens):
    hidden = torch.randn(1, num_tokens, 4, requires_grad=True)
    labels = torch.randint(0, 1000, (1, num_tokens))
    head = LanguageHead(module=torch.nn.Linear(4, 1000, bias=False), transform=LogitTransform(softcap=9.0))
    with LargestTensor(aside=head.module.weight.shape) as largest:
        loss_from_hidden(hidden, *supervised(labels), head=head, chunk_tokens=chunk_tokens).loss_sum.backward()
    assert largest.num_values == chunk_tokens * 1000


def test_without_gradient_only_the_value_is_computed():
    inputs, labels = text_batch()
    model = tiny_model("qwen2")
    head = find_head(model, inputs)
    with torch.no_grad():
        loss = loss_from_hidden(head.hidden_states(model, inputs), *supervised(labels), head=head, chunk_tokens=3)
    assert not loss.loss_sum.requires_grad


@pytest.mark.parametrize("block_tokens", [1, 100, 4096])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("transform", [LogitTransform(), LogitTransform(0.7), LogitTransform(0.7, softcap=1.5)])
def test_a_frozen_head_goes_through_the_vocabulary_block_by_block(transform, bias, block_tokens, monkeypatch):
    monkeypatch.setattr("tunesmith.train.objectives.online_softmax._BLOCK_TOKENS", block_tokens)
    torch.manual_seed(0)
    module = torch.nn.Linear(4, 250, bias=bias, dtype=torch.float64)
    hidden = torch.randn(2, 30, 4, dtype=torch.float64, requires_grad=True) * 5
    labels = torch.randint(0, 250, (2, 30))
    labels[:, 20:] = module(hidden).argmax(-1).roll(1, dims=1)[:, 20:]  # some are right
    expected = loss_from_logits(transform(module(hidden)), *supervised(labels), chunk_tokens=999)
    gradient = torch.autograd.grad(expected.loss_sum, hidden)[0]

    frozen = LanguageHead(module.requires_grad_(False), transform)
    loss = loss_from_hidden(hidden, *supervised(labels), head=frozen, chunk_tokens=7)

    assert loss.loss_sum.item() == pytest.approx(expected.loss_sum.item(), rel=1e-12)
    assert loss.num_correct == expected.num_correct >= 20
    torch.testing.assert_close(torch.autograd.grad(loss.loss_sum, hidden)[0], gradient, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_frozen_head_in_low_precision_is_summed_in_float32(dtype):
    torch.manual_seed(0)
    exact, low = torch.nn.Linear(32, 9000, bias=False), torch.nn.Linear(32, 9000, bias=False, dtype=dtype)
    low.load_state_dict(exact.state_dict())
    hidden, labels = torch.randn(1, 40, 32), torch.randint(0, 9000, (1, 40))
    losses, gradients = [], []
    for module, states in ((exact, hidden.clone()), (low, hidden.to(dtype))):
        head = LanguageHead(module.requires_grad_(False), LogitTransform())
        losses.append(
            loss_from_hidden(states.requires_grad_(), *supervised(labels), head=head, chunk_tokens=16).loss_sum
        )
        gradients.append(torch.autograd.grad(losses[-1], states)[0])
    assert losses[1].dtype == torch.float32 and gradients[1].dtype == dtype
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=1e-3)
    torch.testing.assert_close(gradients[1].float(), gradients[0], rtol=0.05, atol=2e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_weights_are_summed_in_float32(dtype):
    torch.manual_seed(0)
    module = torch.nn.Linear(32, 500, bias=False)
    hidden = torch.randn(1, 40, 32, requires_grad=True)
    labels = torch.randint(0, 500, (1, 40))
    low = LanguageHead(module=torch.nn.Linear(32, 500, bias=False, dtype=dtype), transform=LogitTransform())
    low.module.load_state_dict(module.state_dict())
    low_hidden = hidden.detach().to(dtype).requires_grad_()
    exact = loss_from_hidden(hidden, *supervised(labels), head=LanguageHead(module, LogitTransform()), chunk_tokens=16)
    loss = loss_from_hidden(low_hidden, *supervised(labels), head=low, chunk_tokens=16)
    exact.loss_sum.backward()
    loss.loss_sum.backward()
    assert loss.loss_sum.dtype == torch.float32
    assert loss.loss_sum.item() == pytest.approx(exact.loss_sum.item(), rel=5e-3)
    assert low_hidden.grad.dtype == low.module.weight.grad.dtype == dtype
    torch.testing.assert_close(low.module.weight.grad.float(), module.weight.grad, rtol=0.05, atol=0.02)


def test_autocast_multiplies_in_its_type_and_keeps_float32_gradients():
    torch.manual_seed(0)
    module = torch.nn.Linear(32, 500, bias=False)
    hidden = torch.randn(1, 40, 32, requires_grad=True)
    labels = torch.randint(0, 500, (1, 40))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = loss_from_hidden(
            hidden, *supervised(labels), head=LanguageHead(module, LogitTransform()), chunk_tokens=16
        )
        expected = functional.cross_entropy(module(hidden)[0, :-1].float(), labels[0, 1:], reduction="sum")
    assert loss.loss_sum.item() == pytest.approx(expected.item(), rel=1e-6)
    loss.loss_sum.backward()
    assert module.weight.grad.dtype == hidden.grad.dtype == torch.float32
