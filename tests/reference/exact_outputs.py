"""Slow and obvious: Jacobians of one example at a time, and the K × K matrix that each estimator puts between them.

Every estimator is H = 1/N Σ_n J_nᵀ M_n J_n with J_n = ∂f(x_n)/∂w: M_n is the loss's second derivative in the outputs
(`ggn`), the mean of v vᵀ over the drawn vectors (`mc_fisher`) or r rᵀ (`empirical_fisher`).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn import functional

Head = tuple[Tensor, Tensor]


def value(loss: str, logits: Tensor, label: int) -> Tensor:
    """ℓ of one example, in plain torch."""
    if loss == "squared_error":
        return (logits - torch.eye(len(logits), dtype=logits.dtype)[label]).square().sum() / 2
    return -torch.log_softmax(logits, dim=0)[label]


def output_matrices(loss: str, estimator: str, logits: Tensor, labels: Tensor, drawn: Tensor) -> Tensor:
    """M [N, K, K] by autograd in the outputs, for logits [N, K] and drawn vectors [S, N, K] without 1/√S."""
    found = []
    for index, (outputs, label) in enumerate(zip(logits.detach(), labels.tolist(), strict=True)):
        if estimator == "ggn":
            matrix = torch.autograd.functional.hessian(lambda f, y=label: value(loss, f, y), outputs)
        elif estimator == "mc_fisher":
            matrix = torch.stack([torch.outer(v, v) for v in drawn[:, index]]).mean(dim=0)
        else:
            leaf = outputs.clone().requires_grad_()
            (residual,) = torch.autograd.grad(value(loss, leaf, label), leaf)
            matrix = torch.outer(residual, residual)
        found.append(matrix)
    return torch.stack(found)


def outputs_of(model: nn.Module, head: Head, images: Tensor) -> Tensor:
    """Logits [N, K] in evaluation mode, one example at a time."""
    model.eval()
    with torch.no_grad():
        return torch.cat([model(image[None]) @ head[0].T + head[1] for image in images])


def jacobians(model: nn.Module, head: Head, images: Tensor, name: str) -> Tensor:
    """∂f(x_n)/∂w of one parameter, [N, K, n]."""
    model.eval()
    weight = model.get_parameter(name)
    rows = []
    for image in images:
        logits = (model(image[None]) @ head[0].T + head[1])[0]
        rows.append([torch.autograd.grad(f, weight, retain_graph=True)[0].flatten() for f in logits])
    return torch.stack([torch.stack(row) for row in rows])


def layer_matrix(jacobian: Tensor, matrices: Tensor) -> Tensor:
    """1/N Σ_n J_nᵀ M_n J_n, [n, n]."""
    terms = [j.T @ matrix @ j for j, matrix in zip(jacobian, matrices, strict=True)]
    return torch.stack(terms).mean(dim=0)


def inputs_and_output_jacobians(
    model: nn.Module, layer: nn.Module, head: Head, image: Tensor
) -> tuple[Tensor, Tensor]:
    """What a layer multiplies its weight with, and ∂f/∂(its output), at every position of one example.

    Returns:
        [G, T, I'] and [K, G, T, O], with the positions of all uses of the layer one after the other.
    """
    seen: list[tuple[Tensor, Tensor]] = []
    handle = layer.register_forward_hook(lambda module, args, output: seen.append((args[0], output)))
    try:
        # Outputs overwritten in place by a ReLU would not be what the layer returned: copies go on.
        copies = layer.register_forward_hook(lambda module, args, output: output.clone())
        logits = (model.eval()(image[None]) @ head[0].T + head[1])[0]
    finally:
        handle.remove()
        copies.remove()
    activations = torch.cat([_activations(layer, inputs.detach()[0]) for inputs, _ in seen], dim=1)
    per_output = []
    for f in logits:
        gradients = torch.autograd.grad(f, [output for _, output in seen], retain_graph=True)
        per_output.append(torch.cat([_by_group(layer, gradient[0]) for gradient in gradients], dim=1))
    return activations, torch.stack(per_output)


def _activations(layer: nn.Module, inputs: Tensor) -> Tensor:
    """[G, T, I'], patch by patch."""
    if not isinstance(layer, nn.Conv2d):
        return inputs.reshape(1, -1, inputs.shape[-1])
    spans = [d * (k - 1) for d, k in zip(layer.dilation, layer.kernel_size, strict=True)]
    if layer.padding == "same":
        top, left = (span // 2 for span in spans)
        bottom, right = spans[0] - top, spans[1] - left
    else:
        top, left = bottom, right = layer.padding
    padded = functional.pad(inputs, (left, right, top, bottom))
    (sh, sw), (dh, dw), (kh, kw) = layer.stride, layer.dilation, layer.kernel_size
    rows = range(0, padded.shape[1] - spans[0], sh)
    columns = range(0, padded.shape[2] - spans[1], sw)
    patches = [padded[:, y : y + dh * kh : dh, x : x + dw * kw : dw] for y, x in product(rows, columns)]
    groups = [
        torch.stack([patch.chunk(layer.groups)[g].flatten() for patch in patches])
        for g in range(layer.groups)
    ]
    return torch.stack(groups)


def _by_group(layer: nn.Module, gradient: Tensor) -> Tensor:
    """The gradient of a layer's output, [O_all, H, W] or [..., O], as [G, T, O]."""
    if not isinstance(layer, nn.Conv2d):
        return gradient.reshape(1, -1, gradient.shape[-1])
    return torch.stack([part.flatten(1).T for part in gradient.chunk(layer.groups)])


def factors(
    model: nn.Module, layer: nn.Module, head: Head, images: Tensor, matrices: Tensor
) -> tuple[Tensor, Tensor]:
    """A = 1/N Σ_n 1/T Σ_t a aᵀ [G, I', I'] and Γ = 1/N Σ_n Σ_t D_ntᵀ M_n D_nt [G, O, O], D_nt = ∂f/∂output."""
    inputs, outputs = [], []
    for image, matrix in zip(images, matrices, strict=True):
        activations, gradients = inputs_and_output_jacobians(model, layer, head, image)
        inputs.append(torch.einsum("gti,gtj->gij", activations, activations) / activations.shape[1])
        outputs.append(torch.einsum("kgto,kl,lgtp->gop", gradients, matrix, gradients))
    return torch.stack(inputs).mean(dim=0), torch.stack(outputs).mean(dim=0)


def prunable(model: nn.Module) -> Sequence[str]:
    """The names of all Conv2d and Linear weights."""
    return [
        f"{n}.weight".removeprefix(".")
        for n, m in model.named_modules()
        if isinstance(m, nn.Conv2d | nn.Linear)
    ]
