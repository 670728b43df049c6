"""What every estimator refuses in the same words: labels, missing examples, values that are not finite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor

from obtransfer.errors import ObtransferError, listed

_Value = TypeVar("_Value")


def known(name: str, registry: Mapping[str, _Value], what: str) -> _Value:
    """The entry of this name.

    Raises:
        ObtransferError: there is none; lists those that there are.
    """
    if name not in registry:
        raise ObtransferError(
            f"needed the name of a curvature {what}; got {name!r}; there are: {', '.join(registry)}"
        )
    return registry[name]


def fitting_labels(logits: Tensor, labels: Tensor) -> Tensor:
    """The labels as int64 on the logits' device.

    Args:
        logits: [B, K].
        labels: [B], integers in [0, K).

    Raises:
        ObtransferError: labels of another shape, not integers, or out of range.
    """
    size, classes = logits.shape
    if labels.shape != (size,) or labels.dtype in _NOT_INTEGER:
        raise ObtransferError(
            f"curvature needs one integer label per example, shape ({size},); "
            f"got shape {tuple(labels.shape)} of {labels.dtype}"
        )
    if size and (int(labels.min()) < 0 or int(labels.max()) >= classes):
        raise ObtransferError(
            f"curvature needs labels in [0, {classes}), the rows of the head; got labels from "
            f"{int(labels.min())} to {int(labels.max())}; give the head of the task that the images are from"
        )
    return labels.to(device=logits.device, dtype=torch.long)


_NOT_INTEGER = (
    torch.bool,
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.complex32, torch.complex64, torch.complex128),
)


def some_examples(num_examples: int) -> None:
    """Refuse empty data.

    Raises:
        ObtransferError: there were no examples.
    """
    if num_examples == 0:
        raise ObtransferError("curvature needs at least one calibration example; got none")


def finite(statistics: Mapping[str, Tensor]) -> None:
    """Refuse NaN and infinity.

    Raises:
        ObtransferError: there are some; names every tensor that has some, and how many.
    """
    broken = {name: int((~values.isfinite()).sum()) for name, values in statistics.items()}
    broken = {name: count for name, count in broken.items() if count}
    if broken:
        found = [f"{name} ({count} of {statistics[name].numel()})" for name, count in broken.items()]
        raise ObtransferError(
            f"curvature needs finite statistics; got NaN or infinity in {listed(found)}; look for such values in the "
            "images, the weights and the head"
        )


def means(totals: dict[str, Tensor], num_examples: int) -> dict[str, Tensor]:
    """Divide sums over examples by their number, in place.

    Raises:
        ObtransferError: no examples, or NaN or infinite values.
    """
    some_examples(num_examples)
    finite(totals)
    return {name: total.div_(num_examples) for name, total in totals.items()}
