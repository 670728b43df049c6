"""The matrices of H for either loss, from their definitions by autograd: one example, one vector at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

Head = tuple[Tensor, Tensor]
Vectors = Callable[[Tensor, int], Tensor]
"""(logits [K] of one example, its number) -> the vectors [S, K] of which H = 1/N Σ_n Σ_s (Jᵀ v)(Jᵀ v)ᵀ is made."""

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "squared_error": lambda logits, label: (logits - torch.eye(len(logits))[label]).square().sum() / 2,
    "cross_entropy": lambda logits, label: logits.exp().sum().log() - logits[label],
}
"""(logits [K], label []) -> [], the loss of one example."""

ESTIMATORS = ("ggn", "empirical_fisher")
TOLERANCE = 1e-8


def prunable(model: nn.Module) -> list[str]:
    """Names of the weights of all Conv2d and Linear layers."""
    return [f"{n}.weight" for n, m in model.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]


def vectors_of(labels: Tensor, loss: str, estimator: str) -> Vectors:
    """`ggn`: roots of ∂²loss/∂logits², from its eigenvalues; `empirical_fisher`: ∂loss/∂logits."""

    def vectors(logits: Tensor, number: int) -> Tensor:
        if estimator == "empirical_fisher":
            return torch.func.grad(LOSSES[loss])(logits, labels[number])[None]
        curvature = torch.func.hessian(LOSSES[loss])(logits, labels[number])
        eigenvalues, eigenvectors = torch.linalg.eigh(curvature)
        return (eigenvectors * eigenvalues.clamp(min=0).sqrt()).T

    return vectors


class Use(NamedTuple):
    """One call of one layer for one example: its input and the gradient of its output, batch dimension of 1."""

    layer: nn.Module
    inputs: Tensor
    gradient: Tensor


class Seen(NamedTuple):
    """The gradient of v · f(x) by one layer's weight, and where it comes from."""

    gradient: Tensor
    uses: list[Use]


def observe(model: nn.Module, head: Head, images: Tensor, vectors: Vectors) -> dict[str, list[list[Seen]]]:
    """Everything about every prunable layer in evaluation mode: parameter -> [N][S]."""
    model.eval()
    found: dict[str, list[list[Seen]]] = {name: [] for name in prunable(model)}
    for number, image in enumerate(images):
        calls: list[tuple[str, Tensor, Tensor]] = []
        handles = [_record(model, name, calls) for name in found]
        logits = model(image[None])[0] @ head[0].T + head[1]
        for handle in handles:
            handle.remove()
        rows = [_observe_one(model, logits, v, list(found), calls) for v in vectors(logits.detach(), number)]
        for name, layer in found.items():
            layer.append([row[name] for row in rows])
    return found


def _record(
    model: nn.Module, name: str, calls: list[tuple[str, Tensor, Tensor]]
) -> torch.utils.hooks.RemovableHandle:
    def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        calls.append((name, args[0].detach().clone(), output))
        return output.clone()  # nothing in place reaches the recorded one

    return model.get_submodule(name.removesuffix(".weight")).register_forward_hook(hook)


def _observe_one(
    model: nn.Module,
    logits: Tensor,
    vector: Tensor,
    names: list[str],
    calls: list[tuple[str, Tensor, Tensor]],
) -> dict[str, Seen]:
    wanted = [model.get_parameter(name) for name in names] + [output for _, _, output in calls]
    gradients = torch.autograd.grad(logits @ vector, wanted, retain_graph=True)
    uses: dict[str, list[Use]] = {name: [] for name in names}
    for (name, inputs, _), gradient in zip(calls, gradients[len(names) :], strict=True):
        uses[name].append(Use(model.get_submodule(name.removesuffix(".weight")), inputs, gradient))
    return {name: Seen(gradients[index], uses[name]) for index, name in enumerate(names)}


def gradients_of(seen: Sequence[Sequence[Seen]]) -> Tensor:
    """Of one layer, flat: [N, S, n]."""
    return torch.stack([torch.stack([one.gradient.flatten() for one in vectors]) for vectors in seen])


def factors_of(seen: Sequence[Sequence[Seen]]) -> tuple[Tensor, Tensor]:
    """K-FAC's A [G, I', I'] = 1/(N T) Σ_n Σ_t a aᵀ and Γ [G, O, O] = 1/N Σ_n Σ_s Σ_t d dᵀ of one layer.

    T: all positions of one example, those of further calls of the layer included.
    """
    every = [[_positions(one) for one in vectors] for vectors in seen]
    factors = []
    for group in range(len(every[0][0])):
        inputs = torch.cat([vectors[0][group][0] for vectors in every], dim=1)
        outputs = torch.cat([one[group][1] for vectors in every for one in vectors], dim=1)
        factors.append((inputs @ inputs.T / inputs.shape[1], outputs @ outputs.T / len(seen)))
    return torch.stack([a for a, _ in factors]), torch.stack([d for _, d in factors])


def _positions(seen: Seen) -> list[tuple[Tensor, Tensor]]:
    """Per group, inputs a [I', T] and output gradients d [O, T] at all positions; they make up the gradient."""
    groups = getattr(seen.uses[0].layer, "groups", 1)
    found = [
        [torch.cat(parts, dim=1) for parts in zip(*[_of_use(use, group) for use in seen.uses], strict=True)]
        for group in range(groups)
    ]
    made = torch.cat([outputs @ inputs.T for inputs, outputs in found]).reshape(seen.gradient.shape)
    torch.testing.assert_close(made, seen.gradient, rtol=1e-9, atol=1e-12 * float(made.abs().max()))
    return [(inputs, outputs) for inputs, outputs in found]


def _of_use(use: Use, group: int) -> tuple[Tensor, Tensor]:
    if isinstance(use.layer, nn.Linear):
        return use.inputs.flatten(0, -2).T, use.gradient.flatten(0, -2).T
    assert isinstance(use.layer, nn.Conv2d)
    (kh, kw), (sh, sw), (dh, dw) = use.layer.kernel_size, use.layer.stride, use.layer.dilation
    before = use.layer.padding
    if isinstance(before, str):  # of an odd total the larger half comes last
        before = (dh * (kh - 1) // 2, dw * (kw - 1) // 2) if before == "same" else (0, 0)
    outputs = use.gradient[0].chunk(use.layer.groups)[group]
    height, width = sh * outputs.shape[1], sw * outputs.shape[2]
    maps = use.inputs[0].chunk(use.layer.groups)[group]
    maps = nn.functional.pad(maps, (before[1], dw * kw + width, before[0], dh * kh + height))
    seen = [maps[:, y : y + height : sh, x : x + width : sw] for y in _at(kh, dh) for x in _at(kw, dw)]
    return torch.stack(seen, dim=1).flatten(0, 1).flatten(1), outputs.flatten(1)


def _at(length: int, dilation: int) -> range:
    """Where the kernel's rows or columns are."""
    return range(0, length * dilation, dilation)


def assert_equal(computed: Tensor, exact: Tensor, name: str) -> None:
    """The same shape, and equal to 1e-8 of the largest entry (zeros where all of them are)."""
    assert computed.shape == exact.shape, (name, computed.shape, exact.shape)
    assert computed.dtype == exact.dtype, (name, computed.dtype)
    deviation, largest = float((computed - exact).detach().abs().max()), float(exact.detach().abs().max())
    assert deviation <= TOLERANCE * largest + 1e-30, (name, deviation, largest)
