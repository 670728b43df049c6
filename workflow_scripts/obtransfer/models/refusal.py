"""What a file that holds more than data is answered: why it is refused, and how it can be converted, if it can."""

from __future__ import annotations

import re
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path

_TORCH = (b"PK\x03\x04", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")
"""How files of torch.save begin: the new format, and the old one with its magic number."""

RECIPE = (
    "import sys, torch; d = lambda v: v.state_dict() if isinstance(v, torch.nn.Module) else v; "
    "x = d(torch.load(sys.argv[1], 'cpu', weights_only=False)); t = torch.is_tensor; "
    "torch.save({k: d(v) for k, v in x.items() if t(v) or isinstance(d(v), dict) and any(map(t, d(v).values()))}, "
    "sys.argv[2])"
)
"""Keeps the tensors of a file, and those of its entries, under their names; models become their state_dict."""


def refusal(path: Path, what: str, reason: str) -> str:
    """The message for a pickle that `torch.load(weights_only=True)` refused.

    The recipe is only offered where it can work: for files of torch.save whose packages are all here.

    Args:
        path: the file; none of its code is run.
        what: where the file came from.
        reason: torch's own message.
    """
    names = _names(path) or re.findall(r"GLOBAL ([\w.]+)", reason)
    calls = f" (it names {', '.join(names[:3])}{' ...' if len(names) > 3 else ''})" if names else ""
    text = (
        f"{what}: refused, because it is a pickle that holds more than data{calls}, and loading such a file runs whatever "
        "code its author chose, with your rights. Get a safetensors file or a plain state_dict from the publisher"
    )
    with path.open("rb") as stream:
        if not stream.read(16).startswith(_TORCH):
            return f"{text}, and name it with format: local"
    missing = [name for name in names if not _is_here(name)]
    if missing:
        return (
            f"{text}, or save its state_dict() with torch.save where {missing[0]} is defined, which is not here. Name the "
            "new file with format: local"
        )
    return (
        f"{text}. If you trust the author, and only then, convert it yourself in a place where it can do no harm:\n"
        f'  python -c "{RECIPE}" FILE NEW.pth\n'
        "and name the new file under backbones, with format: local"
    )


def _names(path: Path) -> list[str]:
    """What the pickle names that torch does not allow; empty where torch can't list them."""
    import pickle

    import torch

    try:
        found: list[str] = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError):
        return []
    allowed = ("numpy.", "argparse.Namespace")
    return sorted(name for name in found if not name.startswith(allowed)) or sorted(found)


def _is_here(name: str) -> bool:
    """Whether the module of a name is installed. Nothing is imported: the name is the file's."""
    parts = name.split(".")[:-1]
    if not parts or parts[0] == "__main__":
        return False
    spec = find_spec(parts[0])
    for index in range(2, len(parts) + 1):
        if spec is None or spec.submodule_search_locations is None:
            break
        spec = PathFinder.find_spec(".".join(parts[:index]), spec.submodule_search_locations)
    return spec is not None
