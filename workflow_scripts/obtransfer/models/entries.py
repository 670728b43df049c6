"""Finds a network's weights in a training's checkpoint: which entry, under which prefix, with which names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from obtransfer.errors import ObtransferError
from obtransfer.models.checkpoint import Unordered, keys_shown, state_dict_of

if TYPE_CHECKING:
    from torch import Tensor

    from obtransfer.models.known import PublishedWeights

ENTRIES = (
    *("state_dict_ema", "model_ema", "ema_state_dict", "ema", "teacher"),
    *("state_dict", "model_state_dict", "model", "net", "network", "module", "student"),
)
"""Where checkpoints hold weights, the preferred first: an average before the raw weights, as timm reads such files."""


@dataclass(frozen=True)
class Taken:
    """The weights that a format converts.

    Attributes:
        checkpoint: name to tensor; the whole file for formats that know theirs.
        how: for the log and the metadata: the `entry`, the `prefix`, `names` if they were replaced. Empty: nothing was done.
    """

    checkpoint: Mapping[str, Any]
    how: dict[str, str]


def take(checkpoint: Mapping[str, Any], weights: PublishedWeights, what: str, *, rename: bool) -> Taken:
    """The tensors of a checkpoint; a line in the log says which, unless the file holds nothing else.

    Args:
        checkpoint: as read from the file; not changed.
        weights: for `weights_entry`, and for `strip`, `key_map` and the architecture if `rename`.
        what: where the file came from, for errors.
        rename: whether the names become those of the architecture.

    Raises:
        ObtransferError: there is no such entry, or its names are not the architecture's.
    """
    from obtransfer.models.names import named

    entry, state = find(checkpoint, weights.weights_entry, what)
    how = {"entry": entry} if entry else {}
    if not rename:
        return Taken(state, how)
    renamed = named(state, weights, what, ordered=not isinstance(checkpoint, Unordered))
    return Taken(renamed.checkpoint, how | renamed.how)


def find(checkpoint: Mapping[str, Any], wanted: str, what: str) -> tuple[str, dict[str, Tensor]]:
    """An entry's name, "" for the file itself, and its tensors.

    Args:
        checkpoint: as read from the file.
        wanted: the entry's name, with points between nested ones; "" for the first of `ENTRIES` that is there.
        what: where the file came from, for errors.
    """
    if wanted:
        return wanted, state_dict_of(_inner(checkpoint, wanted, what), "", f"{what}, {wanted}")
    there = dict(_candidates(checkpoint))
    if not there:
        return "", state_dict_of(checkpoint, "", what)
    taken, *others = sorted(there, key=lambda name: ENTRIES.index(name.partition(".")[0]))
    also = f"; also there: {', '.join(others)}; weights_entry takes another" if others else ""
    print(f"{what}: the weights are its entry {taken}{also}", flush=True)
    return taken, state_dict_of(there[taken], "", f"{what}, {taken}")


def _candidates(checkpoint: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name in ENTRIES:
        value = checkpoint.get(name)
        if isinstance(value, Mapping):
            inner = list(_candidates(value))
            if inner:
                yield from ((f"{name}.{key}", state) for key, state in inner)
            elif _has_tensors(value):
                yield name, value


def _has_tensors(value: Any) -> bool:
    from torch import Tensor

    return isinstance(value, Mapping) and any(isinstance(item, Tensor) for item in value.values())


def _inner(checkpoint: Mapping[str, Any], wanted: str, what: str) -> Mapping[str, Any]:
    found: Any = checkpoint
    for key in (wanted,) if wanted in checkpoint else wanted.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    if not _has_tensors(found):
        entries = [name for name, _ in _candidates(checkpoint)]
        there = f"the entries {', '.join(entries)}" if entries else keys_shown(checkpoint)
        raise ObtransferError(
            f"{what}: needed tensors in the entry {wanted!r}; got a file with {there}; correct weights_entry"
        )
    return dict(found)
