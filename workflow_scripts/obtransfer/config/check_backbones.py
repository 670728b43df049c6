"""Are the configuration's backbones right?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from obtransfer.config.describe import Path, shorten, unknown
from obtransfer.errors import ObtransferError, did_you_mean
from obtransfer.models import published
from obtransfer.models.known import ARCHITECTURES, BACKBONES
from obtransfer.registry import FORMATS
from obtransfer.settings import BackboneEntry, Configuration

Raw = Mapping[str, Any]
Found = Iterator[tuple[Path, str]]

_NAME = re.compile(r"[a-z][a-z0-9_]*\.[a-z0-9_]+")


def known(raw: Raw, config: Configuration) -> Found:
    """The backbones of the grid exist, and zeros in their weights are zeros in their kernels."""
    for index, name in enumerate(config.grid.backbones):
        path = ("grid", "backbones", index)
        try:
            if published.architecture(config.backbones, name).computes_kernels:
                yield (
                    path,
                    f"{name} normalises its kernels in the forward pass, so its weights can't be removed; choose another",
                )
        except ObtransferError as error:
            if name not in config.backbones:  # `own` checks these
                yield path, str(error)


def own(raw: Raw, config: Configuration) -> Found:
    """The configuration's own backbones have a new name, a format, an architecture and pixels that fit it."""
    for name, entry in config.backbones.items():
        path = ("backbones", name)
        if not _NAME.fullmatch(name):
            yield path, "needed a name as architecture.pretraining, in small letters, digits and _"
            continue
        if _is_taken(name):
            yield path, "weights of this name are known already; choose another word behind the point"
        if entry.format not in FORMATS:
            yield (*path, "format"), unknown(entry.format, FORMATS, "format")
        else:
            yield from _names(path, entry)
        yield from _network(path, name, entry)


def attentive(config: Configuration) -> list[str]:
    """Backbones of the grid that have attention."""
    return [name for name in config.grid.backbones if _has_attention(config, name)]


def _has_attention(config: Configuration, name: str) -> bool:
    try:
        return published.architecture(config.backbones, name).has_attention
    except (ObtransferError, KeyError):  # other checks report it
        return False


def _is_taken(name: str) -> bool:
    model, _, tag = name.partition(".")
    return (
        name in BACKBONES
        or tag in (published.timm_table()["architectures"].get(model) or {"tags": ()})["tags"]
    )


def _names(path: Path, entry: BackboneEntry) -> Found:
    """The format reads the keys about entries and names, and the patterns are regular expressions."""
    reads = FORMATS[entry.format].reads
    for key in ("weights_entry", "strip", "key_map"):
        if getattr(entry, key) is not None and key not in reads:
            yield (*path, key), f"format {entry.format} knows its own; remove the key, or write format: local"
    for index, (pattern, replacement) in enumerate(entry.key_map if isinstance(entry.key_map, tuple) else ()):
        try:
            re.sub(pattern, replacement, "")
        except (re.error, IndexError) as error:
            wrong = f"got {shorten(pattern)!r} and {shorten(replacement)!r} ({error})"
            yield (*path, "key_map", index), f"{wrong}; needed a regular expression and its replacement"


def _network(path: Path, name: str, entry: BackboneEntry) -> Found:
    """The architecture is known, and so are the images that it reads."""
    model = (entry.architecture or name).partition(".")[0]
    timm = published.timm_table()["architectures"]
    if model not in timm and model not in ARCHITECTURES:
        hint = did_you_mean(model, [*timm, *ARCHITECTURES])
        yield path, f"there is no architecture {model!r}; {hint}write timm's name of one"
        return
    usual = published.usual_preprocessing(model)
    missing = [key for key in published.KEYS if getattr(entry, key) is None]
    if missing and not usual:
        yield path, f"missing {', '.join(missing)}, which timm does not know of {model}"
    size = usual.input_size if usual and model in timm and timm[model]["fixed"] else None
    if size and entry.input_size not in (None, size):
        yield (*path, "input_size"), f"got {entry.input_size}; {model} reads images of {size} pixels only"
