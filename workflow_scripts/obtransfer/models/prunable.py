"""Which weights may be removed: those of convolutions and linear layers, by module type."""

from torch import nn


def prunable_parameters(model: nn.Module) -> list[str]:
    """Names of the weights of `nn.Conv2d` and `nn.Linear` modules.

    For a transformer: patch embedding, qkv, attention projection, MLP. Never biases, norms, tokens or position
    embeddings. A weight that two modules share is named once.

    Args:
        model: without a classifier (`num_classes=0`).

    Returns:
        Names in the order of `model.named_parameters()`.
    """
    weights = {id(m.weight) for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))}
    return [name for name, parameter in model.named_parameters() if id(parameter) in weights]
