"""Log-probabilities made chunk by chunk equal those of full logits: value, and gradient of any weighting of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.train.objectives.pairs import gradients, make_pairs, pair_batch
from tests.train.test_loss import LargestTensor
from tests.train.tiny_models import TEXT_KINDS, tiny_model
from tunesmith.models.head import LanguageHead, LogitTransform
from tunesmith.train.objectives.log_probabilities import TokenLogProbabilities, of_hidden

TRANSFORMS = [LogitTransform(), LogitTransform(scale=0.3), LogitTransform(0.7, softcap=1.5)]


def weighted(log_probabilities: Tensor) -> Tensor:
    """A loss in which every token counts differently, and some against the others."""
    return (log_probabilities * torch.linspace(-1.0, 2.0, len(log_probabilities), dtype=log_probabilities.dtype)).sum()


def of_full_logits(logits_BTV: Tensor, batch) -> Tensor:
    chosen = logits_BTV.flatten(0, 1)[batch.positions]
    return chosen.log_softmax(-1).gather(-1, batch.targets[:, None])[:, 0]


@pytest.mark.parametrize("chunk_tokens", [1, 4, 1000])
@pytest.mark.parametrize("trains", ["everything", "all but the head"])
@pytest.mark.parametrize("kind", [*TEXT_KINDS, "qwen2_5_vl"])
def test_value_and_gradients_equal_full_logits(kind, trains, chunk_tokens):
    batch = pair_batch(make_pairs(kind, 3))
    models = [tiny_model(kind) for _ in range(2)]
    for model in models:
        model.get_output_embeddings().requires_grad_(trains == "everything")
    expected = of_full_logits(models[0](**batch.inputs).logits, batch)
    weighted(expected).backward()

    found = TokenLogProbabilities(chunk_tokens)(models[1], batch)
    weighted(found).backward()

    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    assert gradients(models[1]).keys() == gradients(models[0]).keys()
    for name, gradient in gradients(models[0]).items():
        torch.testing.assert_close(gradients(models[1])[name], gradient, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("trains", [False, True])
def test_scaling_soft_capping_and_bias_are_in_the_derivative(trains, bias, transform):
    torch.manual_seed(0)
    module = nn.Linear(4, 7, bias=bias, dtype=torch.float64)
    hidden, targets = torch.randn(6, 4, dtype=torch.float64, requires_grad=True), torch.tensor([1, 2, 6, 0, 2, 3])
    tensors = [hidden, *(module.parameters() if trains else ())]
    expected = transform(module(hidden)).log_softmax(-1).gather(-1, targets[:, None])[:, 0]
    wanted = torch.autograd.grad(weighted(expected), tensors)

    head = LanguageHead(module.requires_grad_(trains), transform)
    found = of_hidden(hidden, targets, head=head, chunk_tokens=4)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    for ours, theirs in zip(torch.autograd.grad(weighted(found), tensors), wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-13)


class Adapted(nn.Linear):
    """Stands for LoRA on the head: its weight is not the whole story."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) * 2


def test_a_head_that_is_not_a_bare_linear_layer_goes_through_its_module():
    torch.manual_seed(0)
    module = Adapted(4, 7, dtype=torch.float64)
    hidden, targets = torch.randn(6, 4, dtype=torch.float64, requires_grad=True), torch.randint(0, 7, (6,))
    head = LanguageHead(module, LogitTransform(softcap=3.0))
    expected = head.logits(hidden).log_softmax(-1).gather(-1, targets[:, None])[:, 0]
    found = of_hidden(hidden, targets, head=head, chunk_tokens=4)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    tensors = (hidden, module.weight, module.bias)
    wanted = torch.autograd.grad(weighted(expected), tensors)
    for ours, theirs in zip(torch.autograd.grad(weighted(found), tensors), wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-14)


def test_a_model_whose_head_is_not_proven_makes_the_logits_itself():
    class Doubled(type(tiny_model("qwen2"))):
        """What it does to its logits stands in no config."""

        def forward(self, **inputs):
            output = super().forward(**inputs)
            output.logits = output.logits * 2
            return output

    batch, model = pair_batch(make_pairs("qwen2", 3)), tiny_model("qwen2")
    expected = (model(**batch.inputs).logits * 2).flatten(0, 1)[batch.positions].log_softmax(-1)
    model.__class__ = Doubled
    found = TokenLogProbabilities(2)(model, batch)
    torch.testing.assert_close(found, expected.gather(-1, batch.targets[:, None])[:, 0], rtol=1e-12, atol=1e-12)
    assert found.requires_grad


@pytest.mark.parametrize("trains", [False, True])
@pytest.mark.parametrize("num_tokens", [40, 400])
@pytest.mark.parametrize("chunk_tokens", [5, 10])
def test_the_largest_tensor_is_one_chunk_of_logits_however_long_the_batch(chunk_tokens, num_tokens, trains):
    hidden, targets = torch.randn(num_tokens, 4, requires_grad=True), torch.randint(0, 1000, (num_tokens,))
    module = nn.Linear(4, 1000, bias=False).requires_grad_(trains)
    with LargestTensor(aside=module.weight.shape) as largest:
        head = LanguageHead(module, LogitTransform(softcap=9.0))
        weighted(of_hidden(hidden, targets, head=head, chunk_tokens=chunk_tokens)).backward()
    assert largest.num_values == chunk_tokens * 1000


@pytest.mark.parametrize("trains", [False, True])
def test_without_gradient_only_the_values_are_computed(trains):
    module = nn.Linear(4, 50).requires_grad_(trains)
    hidden, targets = torch.randn(9, 4, requires_grad=True), torch.randint(0, 50, (9,))
    head = LanguageHead(module, LogitTransform())
    with torch.no_grad():
        alone = of_hidden(hidden, targets, head=head, chunk_tokens=4)
    assert not alone.requires_grad
    assert torch.equal(alone, of_hidden(hidden, targets, head=head, chunk_tokens=4).detach())


@pytest.mark.parametrize("trains", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_weights_are_summed_in_float32(dtype, trains):
    torch.manual_seed(0)
    exact = nn.Linear(32, 5000, bias=False).requires_grad_(trains)
    low = nn.Linear(32, 5000, bias=False, dtype=dtype).requires_grad_(trains)
    low.load_state_dict(exact.state_dict())
    hidden, targets = torch.randn(40, 32, requires_grad=True), torch.randint(0, 5000, (40,))
    low_hidden = hidden.detach().to(dtype).requires_grad_()
    found = of_hidden(low_hidden, targets, head=LanguageHead(low, LogitTransform()), chunk_tokens=16)
    expected = of_hidden(hidden, targets, head=LanguageHead(exact, LogitTransform()), chunk_tokens=16)
    weighted(found).backward()
    weighted(expected).backward()
    assert found.dtype == torch.float32 and low_hidden.grad.dtype == dtype
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=2e-2)
    torch.testing.assert_close(low_hidden.grad.float(), hidden.grad, rtol=0.05, atol=0.02)
    if trains:
        assert low.weight.grad.dtype == dtype
        torch.testing.assert_close(low.weight.grad.float(), exact.weight.grad, rtol=0.05, atol=0.02)


@pytest.mark.parametrize("trains", [False, True])
def test_autocast_multiplies_in_its_type_in_both_passes(trains):
    torch.manual_seed(0)
    module = nn.Linear(32, 500, bias=False).requires_grad_(trains)
    hidden, targets = torch.randn(40, 32, requires_grad=True), torch.randint(0, 500, (40,))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = of_hidden(hidden, targets, head=LanguageHead(module, LogitTransform()), chunk_tokens=16)
        logits = module(hidden)
    weighted(found).backward()  # outside of autocast, as the loop does
    assert logits.dtype == torch.bfloat16 and found.dtype == hidden.grad.dtype == torch.float32
    expected = logits.float().log_softmax(-1).gather(-1, targets[:, None])[:, 0]
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
