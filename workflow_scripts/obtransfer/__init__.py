"""Optimal Brain Transfer: which weights can a pre-trained vision model lose before anyone knows what it is for?

The names below are the public interface of the library (docs/library.md). Each is imported when it is first used, so that
`import obtransfer` stays quick and imports no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from obtransfer.curvature import compute_statistic
    from obtransfer.errors import ObtransferError
    from obtransfer.library import make_mask, score_weights
    from obtransfer.masks.apply import apply_mask, hold
    from obtransfer.masks.mask import Mask
    from obtransfer.models.prunable import prunable_parameters

__version__ = "0.1.0"
__all__ = [
    "Mask", "ObtransferError", "apply_mask", "compute_statistic", "hold", "make_mask", "prunable_parameters",
    "score_weights",
]  # fmt: skip

_HOMES = {
    "Mask": "masks.mask",
    "ObtransferError": "errors",
    "apply_mask": "masks.apply",
    "compute_statistic": "curvature",
    "hold": "masks.apply",
    "make_mask": "library",
    "prunable_parameters": "models.prunable",
    "score_weights": "library",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
