"""torch.compile for the decoder layers of a model, one by one.

Layers are alike, so the code made for one serves all: much sooner than compiling the model whole, at the same speed
(https://docs.pytorch.org/tutorials/recipes/regional_compilation.html). Everything else stays as it is. Knows nothing of
batches.
"""

from __future__ import annotations

from torch import nn

from tunesmith.models.parts import core_model, find_parts


def compile_layers(model: nn.Module) -> int:
    """Compile every decoder layer in place, for any length of sequence; how many there are.

    Prove the packing first (`packing.prove_packing` with may_split=False): a loop over samples inside a layer would be
    compiled anew for every new set of lengths. Raises ModelError if the model has no stack of layers.
    """
    layers = core_model(model).get_submodule(find_parts(model).layers)
    for layer in layers.children():
        layer.compile(dynamic=True)
    return len(list(layers.children()))
