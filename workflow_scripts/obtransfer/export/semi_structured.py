"""2:4 sparsity: which layers have it, and how fast a GPU with units for it computes them."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from obtransfer.export.card import SemiStructured
from obtransfer.masks.mask import Kept, Mask
from obtransfer.masks.n_of_m import dense_layers

_CAPABILITY = (8, 0)  # NVIDIA's Ampere is the first with sparse tensor cores
_MULTIPLES = (32, 64)  # of the rows and columns that both of PyTorch's backends accept in 16 bits
_BATCH, _RUNS, _WARM_UP = 128, 30, 5
NO_GPU = (
    "No GPU with units for 2:4 sparsity was available when this card was written, so no semi-structured tensors were made "
    "and no speed was measured."
)


def two_of_four(kept: Kept) -> list[str]:
    """Layers that keep at most 2 of every 4 consecutive inputs: the pattern of PyTorch and of the hardware.

    Inputs are axis 1; of a convolution, at each kernel position. A layer whose number of inputs is no multiple of 4 never
    has the pattern.
    """
    return [name for name, layer in kept.items() if _follows(layer)]


def _follows(kept: np.ndarray) -> bool:
    if kept.ndim < 2 or kept.shape[1] % 4:
        return False
    groups = kept.reshape(kept.shape[0], kept.shape[1] // 4, 4, -1)
    return bool((groups.sum(axis=2) <= 2).all())


def convertible(model: nn.Module, names: Sequence[str]) -> list[str]:
    """Those of the layers that PyTorch can convert: linear ones, in multiples of 32 outputs and 64 inputs."""
    linear = {f"{name}.weight": module for name, module in model.named_modules() if type(module) is nn.Linear}
    return [
        name
        for name in names
        if name in linear
        and not linear[name].out_features % _MULTIPLES[0]
        and not linear[name].in_features % _MULTIPLES[1]
    ]


def gpu_available() -> bool:
    """Whether torch sees a GPU with units for 2:4 sparsity."""
    return torch.cuda.is_available() and torch.cuda.get_device_capability() >= _CAPABILITY


def convert(model: nn.Module, names: Sequence[str]) -> None:
    """Replace the weights of 2:4 layers by PyTorch's semi-structured tensors, in place; for inference only.

    Args:
        model: on a GPU, in float16 or bfloat16.
        names: of `convertible`.
    """
    from torch.sparse import to_sparse_semi_structured

    for name in names:
        module = model.get_submodule(name.removesuffix(".weight"))
        weight = module.get_parameter("weight").detach().contiguous()
        module.weight = nn.Parameter(to_sparse_semi_structured(weight), requires_grad=False)


def report(model: nn.Module, mask: Mask, images: torch.Tensor, *, gpu: bool) -> SemiStructured:
    """The card's section on 2:4 sparsity; empty where a layer that could have the pattern lacks it.

    Args:
        model: on the CPU; not changed.
        mask: of its prunable layers.
        images: [N, 3, S, S], for the comparison and the speed.
        gpu: whether to measure on the GPU.
    """
    names, dense = two_of_four(mask.kept), dense_layers(mask.shapes(), 4)
    if not names or len(names) + len(dense) < len(mask.kept):
        return {}
    found: SemiStructured = {
        "layers": names,
        "convertible": convertible(model, names),
        "without": dense,
        "statement": NO_GPU,
    }
    if not found["convertible"]:
        found["statement"] = (
            "None of these layers is a linear one of a size that PyTorch converts, so there is no speed to gain from it."
        )
    elif gpu:
        found |= _measure(model, found["convertible"], images)
    return found


@torch.no_grad()
def _measure(model: nn.Module, names: Sequence[str], images: torch.Tensor) -> SemiStructured:
    """Images per second in float16, dense and 2:4, and how far the outputs are apart."""
    device = torch.cuda.get_device_name()
    repeated = images.repeat(-(-_BATCH // len(images)), 1, 1, 1)[:_BATCH].half().cuda()
    thin = copy.deepcopy(model).half().cuda().eval()
    dense, dense_ms = thin(repeated).float(), _milliseconds(thin, repeated)
    try:
        convert(thin, names)
        difference = float((thin(repeated).float() - dense).abs().max())
        ratio = dense_ms / _milliseconds(thin, repeated)
    except (
        RuntimeError,
        NotImplementedError,
    ) as error:  # a prototype in PyTorch, which not every build for GPUs has
        reason = str(error).splitlines()[0]
        return {"statement": f"PyTorch's semi-structured tensors do not work on {device}: {reason}"}
    speed = f"{ratio:.2f} times the dense model's speed ({_BATCH / dense_ms * 1e3:,.0f} images per second)"
    statement = f"As semi-structured tensors on {device}, in float16 and batches of {_BATCH}: {speed}, outputs within {difference:.2g}."
    return {"device": device, "speed_up": ratio, "max_abs_difference": difference, "statement": statement}


def _milliseconds(model: nn.Module, images: torch.Tensor) -> float:
    """The median of some forward passes."""
    times = []
    for _ in range(_WARM_UP + _RUNS):
        begun, ended = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begun.record()
        model(images)
        ended.record()
        torch.cuda.synchronize()
        times.append(begun.elapsed_time(ended))
    return float(np.median(times[_WARM_UP:]))
