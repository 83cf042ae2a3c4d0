"""What a training takes on many GPUs, by arithmetic: the tables of docs/scaling.md.

    python -m benchmarks.scaling_plan

Memory and bytes follow from the model's shape and from what the engines keep and send (`docs/distributed.md`), which
`benchmarks.scaling` counts on real processes. Rates are inputs: what a GPU multiplies is its data sheet's figure times
a share that large trainings reach, what links carry is their data sheet's figure times such a share. None of them was
measured here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Method = Literal["full", "lora"]


@dataclass(frozen=True, slots=True)
class Model:
    """A dense decoder. `adapter`: parameters of LoRA of rank 8 on all its linear layers."""

    name: str
    parameters: float
    layers: int
    hidden: int
    intermediate: int
    vocabulary: int
    adapter: float

    @property
    def root_parameters(self) -> float:
        """Embedding and head, which stay gathered during a step."""
        return 2.0 * self.vocabulary * self.hidden


@dataclass(frozen=True, slots=True)
class Cluster:
    """GPUs in hosts of eight. Rates in operations and bytes a second, of one GPU and out of one host."""

    gpus: int
    memory: float = 80e9
    gpus_per_host: int = 8
    operations: float = 989e12 * 0.45
    inside: float = 450e9 * 0.8
    between: float = 8 * 50e9 * 0.85

    @property
    def link(self) -> float:
        """Bytes a second at which every GPU of a ring receives what all the others hold."""
        return self.inside if self.gpus <= self.gpus_per_host else min(self.inside, self.between)


@dataclass(frozen=True, slots=True)
class Plan:
    """A step of one micro-batch on every GPU. Bytes are of one GPU.

    state:       weights, gradients, optimiser
    gathered:    the layer in use, the one fetched ahead, embedding and head
    activations: kept at each layer's beginning, and those of the layer that is recomputed
    sent:        received by collectives in a step
    """

    state: float
    gathered: float
    activations: float
    sent: float
    compute_s: float
    communication_s: float

    @property
    def memory(self) -> float:
        """Of one GPU at its highest."""
        return self.state + self.gathered + self.activations

    @property
    def step_s(self) -> float:
        """The longer of the two where they overlap, and a tenth of the shorter that does not."""
        longer, shorter = sorted((self.compute_s, self.communication_s), reverse=True)
        return longer + shorter / 10


QWEN_72B = Model("72B", 72.7e9, 80, 8192, 29568, 152064, adapter=1.05e8)
QWEN_32B = Model("32B", 32.8e9, 64, 5120, 27648, 152064, adapter=0.67e8)


def plan_shards(model: Model, method: Method, cluster: Cluster, *, tokens: int) -> Plan:
    """FSDP2 or ZeRO-3, bf16 with float32 masters, activations recomputed; `tokens` a GPU and step.

    In full: 4 + 4 + 4 + 4 bytes a parameter for masters, gradients and two moments, cut over all GPUs. LoRA: 2 bytes a
    frozen parameter, cut too. A step gathers every weight for the forward and for the backward, 2 bytes each, and in
    full sums 4 bytes of gradient.
    """
    trains = model.parameters if method == "full" else model.adapter
    frozen = 0.0 if method == "full" else model.parameters
    layer = (model.parameters - model.root_parameters) / model.layers
    others = (cluster.gpus - 1) / cluster.gpus
    sent = others * (2 * 2 * model.parameters + 4 * trains)
    return Plan(
        state=(16 * trains + 2 * frozen) / cluster.gpus,
        gathered=2 * (2 * layer + model.root_parameters) + (4 * model.root_parameters if method == "full" else 0.0),
        activations=_activations(model, tokens),
        sent=sent,
        compute_s=_operations(model, method, tokens) / cluster.operations,
        communication_s=sent / cluster.link,
    )


def plan_replicas(model: Model, cluster: Cluster, *, tokens: int) -> Plan:
    """LoRA with the whole frozen model on every GPU: only the adapter's gradients travel, twice in a ring."""
    sent = 2 * 4 * model.adapter * (cluster.gpus - 1) / cluster.gpus
    return Plan(
        state=16 * model.adapter + 2 * model.parameters,
        gathered=0.0,
        activations=_activations(model, tokens),
        sent=sent,
        compute_s=_operations(model, "lora", tokens) / cluster.operations,
        communication_s=sent / cluster.link,
    )


def _operations(model: Model, method: Method, tokens: int) -> float:
    """2 for the forward, 2 to recompute it, 2 for the gradients of activations, 2 for those of weights that train."""
    return (8.0 if method == "full" else 6.0) * model.parameters * tokens


def _activations(model: Model, tokens: int) -> float:
    """Two bytes: a vector a layer, and inside one layer about 10 hidden and 5 intermediate vectors; chunked logits."""
    kept = model.layers * model.hidden
    inside = 10 * model.hidden + 5 * model.intermediate
    return 2.0 * tokens * (kept + inside) + 2 * 4.0 * 1024 * model.vocabulary


def _row(name: str, cluster: Cluster, plan: Plan, *, tokens: int) -> str:
    fits = "" if plan.memory <= 0.92 * cluster.memory else " (too much)"
    rate = tokens / plan.step_s
    return (
        f"| {name} | {cluster.gpus} | {plan.state / 1e9:.1f} | {plan.memory / 1e9:.0f}{fits} | {plan.sent / 1e9:.1f} | "
        f"{plan.compute_s:.2f} | {plan.communication_s:.2f} | {plan.step_s:.2f} | {rate * cluster.gpus:,.0f} | "
        f"{plan.compute_s / plan.step_s:.0%} |"
    )


_HEADER = (
    "| what | GPUs | state, GB | memory, GB | received a step, GB | computing, s | links, s | step, s | tokens/s | "
    "of the computing rate |\n| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
)


def main() -> None:
    """Print the tables."""
    for tokens in (4096, 1024):
        print(f"\n{tokens:,} tokens a GPU and step, links of 8 x 400 Gbit/s a host\n\n{_HEADER}")
        for gpus in (8, 64, 512):
            cluster = Cluster(gpus)
            print(
                _row(
                    "72B in full, shards", cluster, plan_shards(QWEN_72B, "full", cluster, tokens=tokens), tokens=tokens
                )
            )
            print(
                _row("32B LoRA, shards", cluster, plan_shards(QWEN_32B, "lora", cluster, tokens=tokens), tokens=tokens)
            )
            print(_row("32B LoRA, replicas", cluster, plan_replicas(QWEN_32B, cluster, tokens=tokens), tokens=tokens))
    print(f"\n4,096 tokens a GPU and step, links of 100 Gbit/s a host\n\n{_HEADER}")
    for gpus in (64, 512):
        slow = Cluster(gpus, between=12.5e9 * 0.85)
        print(_row("72B in full, shards", slow, plan_shards(QWEN_72B, "full", slow, tokens=4096), tokens=4096))
        print(_row("32B LoRA, shards", slow, plan_shards(QWEN_32B, "lora", slow, tokens=4096), tokens=4096))
        print(_row("32B LoRA, replicas", slow, plan_replicas(QWEN_32B, slow, tokens=4096), tokens=4096))


if __name__ == "__main__":
    main()
