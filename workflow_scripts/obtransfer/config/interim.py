"""Stand-ins for what estimators and structures declare until they do so in their own files."""

from types import SimpleNamespace
from typing import Annotated, Any, Literal

from annotated_types import Ge, doc

from obtransfer import registry
from obtransfer.declare import REQUIRED, Setting

_LOSS = Setting(Annotated[Literal["squared_error", "cross_entropy"], doc("the loss")], "squared_error")
_SETTINGS = {
    "loss": _LOSS,
    "num_samples": Setting(Annotated[int, Ge(1), doc("vectors that mc_fisher draws for every image")], 1),
    "num_probes": Setting(Annotated[int, Ge(1), doc("random vectors of the estimator hessian")], 100),
}
_BLOCK = Annotated[
    Annotated[int, Ge(1)] | Literal["row"], doc("consecutive weights of a layer that share a block")
]
STRUCTURES: Any = getattr(registry, "STRUCTURES", None) or {
    "diagonal": SimpleNamespace(settings={}),
    "per_weight": SimpleNamespace(settings={}),
    "block": SimpleNamespace(settings={"block_size": Setting(_BLOCK, REQUIRED)}),
    "kfac": SimpleNamespace(
        settings={"eigenvalue_correction": Setting(Annotated[bool, doc("EK-FAC")], False)}
    ),
}


def estimator_settings(name: str) -> dict[str, Setting]:
    entry: Any = registry.ESTIMATORS[name]
    return entry.settings if hasattr(entry, "settings") else {key: _SETTINGS[key] for key in entry.reads}
