"""Per-example gradients by hooks, handed over layer by layer as the backward pass reaches each layer.

The gradient of one example is the product of the layer's input activations, which a forward hook sees, and the
gradient of its output, which a tensor hook sees. Autograd computes no gradients of weights. What has been consumed
is freed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from obtransfer.curvature.examples import check_features
from obtransfer.curvature.per_example.operands import Operands, join, layer_activations, layer_gradients
from obtransfer.curvature.per_example.patches import Patches
from obtransfer.errors import ObtransferError, listed

Consume = Callable[[str, Operands, int], None]
"""(layer, its operands, which of the batch's vectors they belong to) -> None."""

Prepare = Callable[[str, Tensor], Tensor]

CACHED_BYTES = 2**30
"""The most bytes of unfolded activations that are kept for a batch's next vector; others are unfolded again."""


@dataclass
class _Use:
    """One call of one layer in a forward pass."""

    name: str
    module: nn.Module
    inputs: Tensor  # empty after the last vector
    version: int
    activations: Tensor | None = None


@dataclass
class LayerHooks:
    """What the hooks have seen of one batch.

    Args:
        layers: parameter name -> Conv2d or Linear.
        dtype: of the operands.
        consume: called once per layer and backward pass with the operands of all uses of the layer; may run
            on the thread of the backward pass.
        prepare: (layer, activations of one use) -> what `consume` gets in their place, [B, G, any, L].
        inputs_once: `consume` gets no activations, [0], with the second and later vectors of a batch.
    """

    layers: Mapping[str, nn.Module]
    dtype: torch.dtype
    consume: Consume
    prepare: Prepare | None = None
    inputs_once: bool = False
    size: int = 0
    uses: dict[str, int] = field(default_factory=dict)
    roots: list[GradientEdge] = field(default_factory=list)
    seen: dict[str, list[Operands]] = field(default_factory=dict)
    handles: list[torch.utils.hooks.RemovableHandle] = field(default_factory=list)
    cached_bytes: int = 0
    caching: bool = False
    vector: int = 0
    last: bool = False

    def forward(self, model: nn.Module, inputs: Tensor) -> Tensor:
        """Features of a batch, with every layer's activations recorded.

        Raises:
            ObtransferError: a layer is not called, or in a way that has no per-example gradient.
        """
        self.close()
        self.size = len(inputs)
        with self._forward_hooks():
            features = model(inputs.detach())
        unused = [name for name in self.layers if name not in self.uses]
        if unused:
            raise ObtransferError(
                f"curvature needs every layer to be called by the model's forward; got no call of {listed(unused)}, whose "
                "weight is unused, or used without the module (nn.MultiheadAttention does so); leave it out of `parameters`"
            )
        return check_features(features)

    def backward(self, features: Tensor, vectors: Sequence[Tensor]) -> None:
        """One backward pass of the recorded batch per vector [B, D]; each consumes every layer's operands."""
        self.caching = len(vectors) > 1
        for self.vector, vector in enumerate(vectors):
            # A scalar rather than `grad_outputs=vector`, which imports sympy (2 to 5 s).
            projection = (features * vector).sum()
            self.last = self.vector == len(vectors) - 1
            torch.autograd.grad(projection, self.roots, retain_graph=not self.last, allow_unused=True)
            # A use that does not reach the features has no gradient: what is left does not wait for it.
            for name in list(self.seen):
                self._hand_over(name)
        self.close()

    @contextmanager
    def _forward_hooks(self) -> Iterator[None]:
        handles = []
        try:
            for name, module in self.layers.items():
                hook = self._recorder(name)
                handles.append(module.register_forward_hook(hook, prepend=True, with_kwargs=True))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _recorder(self, name: str) -> Callable[..., None]:
        def record(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
            inputs = args[0] if args else kwargs["input"]
            _check_use(name, module, inputs, output, self.size)
            use = _Use(name, module, inputs.detach(), inputs._version)
            self.uses[name] = self.uses.get(name, 0) + 1
            # Registered now, it sees the gradient of this output even if a ReLU overwrites it in place.
            whole, shape = _before_views(output), output.shape
            self.handles.append(
                whole.register_hook(lambda gradient: self._receive(use, gradient.reshape(shape)))
            )
            # Only requested weights require gradients, so where none arrive no requested layer lies before.
            if not inputs.requires_grad:
                self.roots.append(get_gradient_edge(whole))

        return record

    def _receive(self, use: _Use, gradient: Tensor) -> None:
        """Pair an output gradient with its activations; hand over when all uses of the layer are there."""
        with torch.no_grad():
            gradients = layer_gradients(use.module, gradient.to(self.dtype))
            self.seen.setdefault(use.name, []).append(Operands(gradients, self._activations(use)))
            if self.last:  # the layers before may have the memory, as that of autograd's own tensors
                use.inputs, use.activations = use.inputs.new_empty(0), None
            if len(self.seen[use.name]) == self.uses[use.name]:
                self._hand_over(use.name)

    def _activations(self, use: _Use) -> Tensor:
        if self.inputs_once and self.vector > 0:
            return use.inputs.new_empty(0)
        if use.activations is not None:
            return use.activations
        if use.inputs._version != use.version:
            raise ObtransferError(
                f"curvature needs the inputs of every layer; got an input of {use.name} that was overwritten in place after "
                "its use; make that operation out of place"
            )
        activations = layer_activations(use.module, use.inputs.to(self.dtype))
        if self.prepare is not None:
            activations = self.prepare(use.name, activations)
        if isinstance(activations, Patches):
            return activations
        size = activations.numel() * activations.element_size()
        if self.caching and not self.inputs_once and self.cached_bytes + size <= CACHED_BYTES:
            use.activations, self.cached_bytes = activations, self.cached_bytes + size
        return activations

    def _hand_over(self, name: str) -> None:
        with torch.no_grad():
            self.consume(name, join(self.seen.pop(name)), self.vector)

    def close(self) -> None:
        """Remove every hook and forget the batch."""
        for handle in self.handles:
            handle.remove()
        self.uses, self.roots, self.seen, self.handles, self.cached_bytes = {}, [], {}, [], 0


def _before_views(output: Tensor) -> Tensor:
    """What an operation in place on `output` would really change: of a view (Linear with bias on tokens) its base."""
    base = output._base
    if (
        base is None
        or base.numel() != output.numel()
        or not (base.is_contiguous() and output.is_contiguous())
    ):
        return output
    return base


def _check_use(name: str, module: nn.Module, inputs: Tensor, output: Tensor, size: int) -> None:
    """Refuse calls whose per-example gradient the hooks cannot see.

    Raises:
        ObtransferError: the first dimension is not the examples, or no gradient reaches the output.
    """
    batched = inputs.dim() == 4 if isinstance(module, nn.Conv2d) else inputs.dim() >= 2
    if not batched or len(inputs) != size:
        # ASSUME that a first dimension of the batch's size is the examples: [tokens, examples, C] differs from
        # it only when the sizes do.
        raise ObtransferError(
            f"curvature needs the {size} examples as the first dimension of every layer's input; got "
            f"{tuple(inputs.shape)} at {name} (windows or tokens folded into the batch?); leave it out of `parameters`"
        )
    if not output.requires_grad:
        raise ObtransferError(
            f"curvature needs a gradient at every layer's output; got none at {name} (torch.no_grad inside the model?); "
            "leave it out of `parameters`"
        )
