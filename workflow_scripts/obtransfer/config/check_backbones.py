"""Are the configuration's backbones right?"""

from __future__ import annotations

import re
from collections.abc import Iterator

from obtransfer.config import backbones
from obtransfer.config.describe import Path, unknown
from obtransfer.config.settings import BackboneEntry, Configuration
from obtransfer.errors import ObtransferError
from obtransfer.registry import ARCHITECTURES, BACKBONES, SOURCES

Found = Iterator[tuple[Path, str]]

_NAME = re.compile(r"[a-z][a-z0-9_]*\.[a-z0-9_]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def known(config: Configuration) -> Found:
    """The backbones of the grid exist."""
    for index, name in enumerate(config.grid.backbones):
        try:
            if name not in config.backbones:  # `own` checks these
                backbones.backbone(config.backbones, name)
        except ObtransferError as error:
            yield ("grid", "backbones", index), str(error)


def own(config: Configuration) -> Found:
    """The configuration's own backbones have a new name, a format, an architecture and pixels that fit it."""
    for name, entry in config.backbones.items():
        path = ("backbones", name)
        if not _NAME.fullmatch(name):
            yield path, "needed a name as architecture.pretraining, in small letters, digits and _"
            continue
        if _is_taken(name):
            yield path, "weights of this name are known already; choose another word behind the point"
        if entry.format not in SOURCES:
            yield (*path, "format"), unknown(entry.format, SOURCES, "format")
        if entry.sha256 is not None and not _SHA256.fullmatch(entry.sha256):
            yield (
                (*path, "sha256"),
                f"got the text {entry.sha256!r}; needed 64 hexadecimal digits in small letters",
            )
        yield from _network(path, name, entry)


def attentive(config: Configuration) -> list[str]:
    """Backbones of the grid that have attention."""
    return [name for name in config.grid.backbones if _has_attention(config, name)]


def _has_attention(config: Configuration, name: str) -> bool:
    try:
        return backbones.architecture(config.backbones, name).has_attention
    except (ObtransferError, KeyError):  # other checks report it
        return False


def _is_taken(name: str) -> bool:
    model, _, tag = name.partition(".")
    return name in BACKBONES or tag in backbones.timm_table()["architectures"].get(model, {}).get("tags", {})


def _network(path: Path, name: str, entry: BackboneEntry) -> Found:
    """The architecture is known, and so are the pixels that it reads."""
    model = (entry.architecture or name).partition(".")[0]
    timm = backbones.timm_table()["architectures"]
    if model not in timm and model not in ARCHITECTURES:
        hint = backbones.near(model, [*timm, *ARCHITECTURES], 0.8)
        yield path, f"there is no architecture {model!r}; {hint}needed timm's name of one"
        return
    usual = backbones.default_pixels(model)
    missing = [key for key in backbones.PIXELS if getattr(entry, key) is None and key not in usual]
    if missing:
        yield path, f"missing {', '.join(missing)}, which timm does not know of {model}"
    fixed = timm.get(model, {}).get("fixed") and usual.get("input_size")
    if fixed and entry.input_size not in (None, fixed):
        yield (*path, "input_size"), f"got {entry.input_size}; {model} only reads images of {fixed} pixels"
    for index, value in enumerate(entry.std or ()):
        if value <= 0:
            yield (*path, "std", index), f"got {value}; needed more than 0"
