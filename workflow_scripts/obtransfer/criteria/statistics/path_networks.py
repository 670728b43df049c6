"""Networks of paths, for `px`: a ReLU network with other operations in place of its own.

The model is not changed. A mode of torch sees every function that the forward pass calls, and replaces those with
weights and ReLU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from obtransfer.curvature.examples import Examples
from obtransfer.curvature.whole_loss import gradients, selected_weights
from obtransfer.errors import ObtransferError, listed

_SMALL = 2.0**-40

_SPECIAL = frozenset(("conv2d", "linear", "batch_norm", "relu", "relu_"))
_LINEAR = frozenset((
    "add", "add_", "adaptive_avg_pool2d", "adaptive_max_pool2d", "amax", "avg_pool2d", "cat", "chunk",
    "clone", "concat", "contiguous", "dropout", "dropout2d", "flatten", "max_pool2d", "mean", "new_zeros",
    "pad", "permute", "reshape", "split", "squeeze", "sum", "transpose", "unsqueeze", "view", "zeros",
    "zeros_like", "__getitem__",
))  # fmt: skip
"""Functions that act on a network of paths as on the network itself: linear, or a maximum."""


class _Forward(TorchFunctionMode):
    """A forward in which every function is answered by `answer`."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return self.answer(func, getattr(func, "__name__", ""), args, kwargs or {})

    def answer(self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        raise NotImplementedError


class Gates(_Forward):
    """The network itself; `found` are the gates of its ReLUs in the order of their calls: True where open."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Tensor] = []

    def answer(self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = func(*args, **kwargs)
        if name in ("relu", "relu_"):
            self.found.append(result > 0)
        return result


class Paths(_Forward):
    """The network with other weights, nothing added, BatchNorm as a given scale, and given gates for ReLU.

    Args:
        weight: of a convolution or linear layer -> what to use instead.
        scale: γ/σ [C] of a BatchNorm -> the factors to use instead, or None for the identity.
        gates: of every call of a ReLU in order; None: all open.
    """

    def __init__(
        self,
        weight: Callable[[Tensor], Tensor],
        scale: Callable[[Tensor], Tensor] | None,
        gates: list[Tensor] | None,
    ) -> None:
        super().__init__()
        self.weight, self.scale = weight, scale
        self.gates = None if gates is None else iter(gates)

    def answer(self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if name in _SPECIAL:
            return getattr(self, f"_{name}")(*args, **kwargs)
        return func(*args, **kwargs)

    def _conv2d(
        self, input: Tensor, weight: Tensor, bias: Tensor | None = None, *args: Any, **kwargs: Any
    ) -> Tensor:
        return functional.conv2d(input, self.weight(weight), None, *args, **kwargs)

    def _linear(self, input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        return functional.linear(input, self.weight(weight))

    def _batch_norm(
        self, input: Tensor, mean: Tensor, variance: Tensor, weight: Tensor | None = None,
        bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
    ) -> Tensor:  # fmt: skip
        if self.scale is None:
            return input.clone()  # a later ReLU in place must not reach what came before
        factors = (variance.to(input.dtype) + eps).rsqrt()
        if weight is not None:
            factors = factors * weight.to(input.dtype)
        return input * self.scale(factors)[(None, slice(None)) + (None,) * (input.dim() - 2)]

    def _relu(self, input: Tensor, inplace: bool = False) -> Tensor:
        if self.gates is None:
            return input if inplace else input.clone()
        gate = next(self.gates)
        return input.mul_(gate) if inplace else input * gate

    def _relu_(self, input: Tensor) -> Tensor:
        return self._relu(input, inplace=True)


class _Inspection(_Forward):
    """Collects what has no meaning on paths, by the module that calls it."""

    def __init__(self, model: nn.Module, weights: Mapping[int, str]) -> None:
        super().__init__()
        self.model, self.weights = model, weights
        self.inside: list[str] = []
        self.problems: dict[str, None] = {}

    def answer(self, func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = func(*args, **kwargs)
        if name in ("conv2d", "linear"):
            weight = args[1] if len(args) > 1 else kwargs["weight"]
            if id(weight) not in self.weights:
                self._note(f"{name} with a weight that is computed or of another kind of layer")
        elif name not in _SPECIAL | _LINEAR and _has_tensor(result):
            self._note(name)
        return result

    def _note(self, problem: str) -> None:
        where = self.inside[-1] if self.inside else ""
        module = self.model.get_submodule(where)
        self.problems[f"{where or 'the model'} ({type(module).__name__}: {problem})"] = None

    @contextmanager
    def hooked(self) -> Iterator[None]:
        handles = []
        try:
            for name, module in self.model.named_modules():
                handles.append(module.register_forward_pre_hook(self._enter(name)))
                handles.append(module.register_forward_hook(self._leave))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, name: str) -> Callable[..., None]:
        return lambda *_: self.inside.append(name)

    def _leave(self, *_: Any) -> None:
        self.inside.pop()


def refuse_what_has_no_paths(model: nn.Module, images: Tensor, weights: Mapping[int, str]) -> None:
    """Run the model on `images` and look at every function that it calls.

    Args:
        model: in evaluation mode; not changed.
        images: [B, C, H, W]; one is enough.
        weights: `id` of every weight of a convolution or linear layer -> its name.

    Raises:
        ObtransferError: lists modules with what they call.
    """
    inspection = _Inspection(model, weights)
    with torch.no_grad(), inspection.hooked(), inspection:
        model(images)
    if inspection.problems:
        raise ObtransferError(
            "px needs a network of Conv2d, Linear, BatchNorm, ReLU, pooling and additions, without attention (no vision "
            f"transformer); got {listed(inspection.problems)}; choose another criterion"
        )


def _has_tensor(result: Any) -> bool:
    return isinstance(result, Tensor) or (isinstance(result, tuple | list) and any(map(_has_tensor, result)))


class PathNetworks:
    """The two auxiliary networks of one model, in evaluation mode, and its head."""

    def __init__(self, examples: Examples) -> None:
        self.model, self.head_of = examples.model, examples.head_of
        layers = selected_weights(replace(examples, parameters=None))
        self.names = {id(weight): name for name, weight in layers.items()}
        self.squares = {name: weight.detach().double().square() for name, weight in layers.items()}
        self.shape: torch.Size | None = None

    def data_factor(self, images: Tensor) -> Tensor:
        """z1 [B, K] of images [B, C, H, W]."""
        self._check(images)
        with Gates() as gates:
            self.model(images)
        squares = images.double().square()
        with Paths(_ones, None, gates.found):
            features = self.model(squares)
        weight, _ = self.head_of(features)
        return features @ _ones(weight).T

    def derivatives(self, data_factor: Tensor, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """∂(Σ_k z1_k z2_k)/∂(w²) for z1 [K]."""
        leaves = {name: self.squares[name].requires_grad_() for name in weights}
        with torch.enable_grad():
            features = self._weight_factor(1.0)
            weight, _ = self.head_of(features)
            return gradients((features @ weight.square().T @ data_factor).sum(), leaves)

    def _weight_factor(self, value: float) -> Tensor:
        """The features [1, D] of z2, given `value` at all inputs instead of 1."""
        assert self.shape is not None
        device = next(iter(self.squares.values())).device
        images = torch.full((1, *self.shape), value, dtype=torch.float64, device=device)
        with Paths(lambda weight: self.squares[self.names[id(weight)]], torch.square, None):
            features: Tensor = self.model(images)
        return features

    def _check(self, images: Tensor) -> None:
        """
        Raises:
            ObtransferError: another shape than before, or, the first time, a network without paths.
        """
        if self.shape is None:
            self.shape = images.shape[1:]
            refuse_what_has_no_paths(self.model, images[:1], self.names)
            # What torch's modes do not see (compiled or custom functions) is seen by what it does.
            one, small = self._weight_factor(1.0), self._weight_factor(_SMALL)
            if not torch.allclose(small / _SMALL, one, rtol=1e-6, atol=0.0, equal_nan=True):
                raise ObtransferError(
                    "px needs a positively homogeneous network; got one that is not, for a reason that its modules and "
                    "functions do not show (a constant that is added, a compiled function); choose another criterion"
                )
        if images.shape[1:] != self.shape:
            raise ObtransferError(
                f"px needs images of one shape; got {list(images.shape[1:])} after {list(self.shape)}"
            )


def _ones(weight: Tensor) -> Tensor:
    return (weight != 0).double()
