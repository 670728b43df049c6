"""Gives the tensors of a checkpoint the names of an architecture: prefixes are removed, a key map is applied."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from obtransfer.errors import ObtransferError
from obtransfer.models.build import build_empty, classifier
from obtransfer.models.entries import Taken

if TYPE_CHECKING:
    from torch import Tensor

    from obtransfer.models.known import PublishedWeights

_INSIDE = re.compile(r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""What torch.compile, FSDP and activation checkpointing put before the name of any part of a network."""

_COUNTER = "num_batches_tracked"
_LAST = ("weight", "bias", "running_mean", "running_var", _COUNTER)


def named(state: Mapping[str, Tensor], weights: PublishedWeights, what: str, *, ordered: bool) -> Taken:
    """The tensors under the architecture's names; the classifier keeps the file's name in its place.

    First `strip` is removed, and names without it are left out. Then `key_map` is applied. Then the prefix is found under
    which the architecture's names are. What is beside it, such as a projection head, is left out, and the log says so.

    Args:
        state: of the file; not changed.
        weights: for `strip`, `key_map` and the architecture.
        what: where the file came from, for errors.
        ordered: whether the file's order is that of the network; that of safetensors is not.

    Raises:
        ObtransferError: the names are others, or several networks of this architecture are there.
    """
    how: dict[str, str] = {}
    found = dict(state)
    if weights.strip:
        found = _below(found, weights.strip, what)
        how["prefix"] = weights.strip
    if weights.key_map == "order":
        found = _by_order(found, weights.architecture, what, ordered=ordered)
        return Taken(found, how | {"names": "by order"})
    if weights.key_map:
        found = _mapped(found, weights.key_map, what)
        how["names"] = "by key_map"
    found = _renamed(found, {name: _INSIDE.sub("", name) for name in found}, what)
    prefix = _prefix(found, weights.architecture, what)
    if prefix:
        found = _below(found, prefix, what)
        how["prefix"] = weights.strip + prefix
    return Taken(found, how)


def _below(state: Mapping[str, Tensor], prefix: str, what: str) -> dict[str, Tensor]:
    found = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    if not found:
        raise ObtransferError(
            f"{what}: needed names that begin with {prefix}; got {few(state)}; correct strip"
        )
    others = [name for name in state if not name.startswith(prefix)]
    if others:
        print(f"{what}: {len(others)} tensors beside {prefix} are left out: {few(others)}", flush=True)
    return found


def _mapped(state: Mapping[str, Tensor], pairs: Iterable[tuple[str, str]], what: str) -> dict[str, Tensor]:
    """Every pattern is applied to every name, in turn. A tensor whose name becomes empty is left out."""
    names = {name: name for name in state}
    for pattern, replacement in pairs:
        changed = {name: re.sub(pattern, replacement, now) for name, now in names.items()}
        if changed == names:
            raise ObtransferError(
                f"{what}: needed a name that the pattern {pattern!r} of key_map fits; got {few(names.values())}; correct it"
            )
        names = changed
    return _renamed(state, {name: now for name, now in names.items() if now}, what)


def _renamed(state: Mapping[str, Tensor], names: Mapping[str, str], what: str) -> dict[str, Tensor]:
    twice = [name for name, count in Counter(names.values()).items() if count > 1]
    if twice:
        raise ObtransferError(
            f"{what}: needed another name for every tensor; got several called {few(twice)}; correct key_map"
        )
    return {now: state[name] for name, now in names.items()}


def _by_order(
    state: Mapping[str, Tensor], architecture: str, what: str, *, ordered: bool
) -> dict[str, Tensor]:
    """The names of the architecture, in its order, for tensors of the same shapes in the same order.

    Raises:
        ObtransferError: another number, another shape, or a name that ends with another of `weight`, `bias`, ...
    """
    if not ordered:
        raise ObtransferError(
            f"{what}: needed a file in the order of the network; got safetensors, which sorts its tensors; "
            "write key_map as pairs of patterns"
        )
    counted = any(name.endswith(_COUNTER) for name in state)
    own = {
        name: value
        for name, value in _with_classifier(architecture).items()
        if counted or not name.endswith(_COUNTER)
    }
    heads = tuple(f"{name}." for name in classifier(architecture))
    if len(state) != len(own):  # a file without the classifier
        own = {name: value for name, value in own.items() if not name.startswith(heads)}
    if len(state) != len(own):
        raise ObtransferError(
            f"{what}: needed {len(own)} tensors in the order of {architecture}; got {len(state)}; write key_map as pairs of "
            "patterns"
        )
    for (name, value), (new, wanted) in zip(state.items(), own.items(), strict=True):
        last, new_last = name.rpartition(".")[2], new.rpartition(".")[2]
        fits = new.startswith(heads) or value.shape == wanted.shape
        if not fits or (last != new_last and last in _LAST):
            raise ObtransferError(
                f"{what}: needed {new} of shape {list(wanted.shape)} in the order of {architecture}; got {name} of shape "
                f"{list(value.shape)}; write key_map as pairs of patterns"
            )
    print(
        f"{what}: {len(own)} tensors are named by their order, in which all shapes agree with {architecture}: "
        f"{few(f'{name} -> {new}' for name, new in zip(state, own, strict=True))}",
        flush=True,
    )
    return dict(zip(own, state.values(), strict=True))


def _with_classifier(architecture: str) -> dict[str, Tensor]:
    """What timm's model of the name holds, the classifier included."""
    import timm
    import torch

    name = architecture.partition(".")[0]
    if not timm.is_model(name):
        return dict(build_empty(architecture).state_dict())
    with torch.device("meta"):
        return dict(timm.create_model(name, pretrained=False).state_dict())


def _prefix(state: Mapping[str, Tensor], architecture: str, what: str) -> str:
    """The beginning of names under which most of the architecture's are.

    Raises:
        ObtransferError: less than half of them, or all of them under several.
    """
    own = [name for name in build_empty(architecture).state_dict() if not name.endswith(_COUNTER)]
    wanted, counts = frozenset(own), Counter[str]()
    for name in state:
        parts = name.split(".")
        for index in range(len(parts)):
            if ".".join(parts[index:]) in wanted:
                counts["".join(f"{part}." for part in parts[:index])] += 1
    whole = [prefix for prefix, count in counts.items() if count == len(own)]
    if len(whole) > 1:
        raise ObtransferError(
            f"{what}: needed one network of {architecture}; got several, under {few(repr(name) for name in whole)}; write the "
            f"one to take, such as strip: {max(whole, key=len)}"
        )
    best = max(counts, key=lambda prefix: (counts[prefix], -len(prefix)), default="")
    if 2 * counts[best] < len(own):
        raise ObtransferError(_unlike(list(state), own, architecture, what))
    return best


def _unlike(names: Sequence[str], own: Sequence[str], architecture: str, what: str) -> str:
    first = names[0].partition(".")[0] + "."
    shared = f" (all begin with {first})" if all(name.startswith(first) for name in names) else ""
    return (
        f"{what}: needed the names of {architecture}, such as {few(own)}; got {len(names)} others{shared}: {few(names)}; "
        "correct the architecture, or write key_map"
    )


def few(names: Iterable[str], most: int = 3) -> str:
    """The first names, each cut to 60 characters, and how many more there are."""
    every = list(names)
    more = f" and {len(every) - most} more" if len(every) > most else ""
    shown = (name if len(name) <= 60 else f"{name[:29]}…{name[-30:]}" for name in every[:most])
    return ", ".join(shown) + more
