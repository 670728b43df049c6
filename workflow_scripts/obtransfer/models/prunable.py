"""Which weights may be removed: those of convolutions and linear layers, by module type."""

from torch import nn

from obtransfer.errors import ObtransferError

STANDARDISED = frozenset({"StdConv2d", "StdConv2dSame", "ScaledStdConv2d", "ScaledStdConv2dSame"})
"""Classes of convolutions that normalise their kernel in the forward pass."""

_MOST_NAMED = 3


def prunable_parameters(model: nn.Module) -> list[str]:
    """Names of the weights of `nn.Conv2d` and `nn.Linear` modules.

    For a transformer: patch embedding, qkv, attention projection, MLP. Never biases, norms, tokens or position
    embeddings. A weight that two modules share is named once.

    Args:
        model: without a classifier (`num_classes=0`).

    Returns:
        Names in the order of `model.named_parameters()`.

    Raises:
        ObtransferError: a layer computes its kernel from its parameters in every forward pass (`computes_kernels`).
    """
    computing = computes_kernels(model)
    if computing:
        more = f" and {len(computing) - _MOST_NAMED} more" if len(computing) > _MOST_NAMED else ""
        raise ObtransferError(
            f"needed layers whose kernel is their weight; got layers that compute it in every forward pass, so that zeros in "
            f"the weight are none in the kernel: {', '.join(computing[:_MOST_NAMED])}{more}; choose another architecture"
        )
    weights = {id(layer.weight) for layer in model.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))}
    return [name for name, parameter in model.named_parameters() if id(parameter) in weights]


def computes_kernels(model: nn.Module) -> list[str]:
    """Names of convolutions and linear layers for which a zero in the parameters is no zero in the kernel.

    These are standardised convolutions (NFNet, BiT), known by the names of their classes, and layers under weight
    normalisation, spectral normalisation or another parametrisation of torch, whose `weight` is not a parameter.
    """
    parameters = {id(parameter) for parameter in model.parameters()}
    return [
        name
        for name, layer in model.named_modules()
        if isinstance(layer, (nn.Conv2d, nn.Linear))
        and (
            id(layer.weight) not in parameters
            or any(kind.__name__ in STANDARDISED for kind in type(layer).__mro__)
        )
    ]
