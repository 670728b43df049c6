"""Are the configuration's backbones, and what it says of fetching weights, right?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from obtransfer.config import backbones
from obtransfer.config.lookup import entries, mapping, unknown
from obtransfer.errors import ObtransferError
from obtransfer.registry import ARCHITECTURES, BACKBONES, SOURCES

_NAME = re.compile(r"[a-z][a-z0-9_]*\.[a-z0-9_]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def known(config: Mapping[str, Any]) -> Iterator[str]:
    """The backbones of the grid exist."""
    own = mapping(config, "backbones")
    for path, name in entries(config, "grid", "backbones"):
        if name in own:  # what is wrong with its entry is told there
            continue
        try:
            backbones.backbone({"backbones": own}, name)
        except ObtransferError as error:
            yield f"{path}: {error}"


def own(config: Mapping[str, Any]) -> Iterator[str]:
    """The configuration's own backbones have a new name, a source, an architecture and pixels that fit it."""
    for name in mapping(config, "backbones"):
        path, entry = f"backbones.{name}", mapping(config, "backbones", name)
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            yield f"{path}: needed a name as architecture.pretraining, in small letters, digits and _"
            continue
        if _is_taken(name):
            yield f"{path}: weights of this name are known already; choose another word behind the point"
        source, sha256 = entry.get("source"), entry.get("sha256")
        if isinstance(source, str):
            yield from unknown(f"{path}.source", source, SOURCES, "source")
        if isinstance(sha256, str) and not _SHA256.fullmatch(sha256):
            yield f"{path}.sha256: got the text {sha256!r}; needed 64 hexadecimal digits in small letters"
        yield from _network(path, name, entry)


def attentive(config: Mapping[str, Any]) -> list[str]:
    """Backbones of the grid that have attention."""
    return [name for _, name in entries(config, "grid", "backbones") if _has_attention(config, name)]


def _has_attention(config: Mapping[str, Any], name: str) -> bool:
    try:
        return backbones.architecture({"backbones": mapping(config, "backbones")}, name).has_attention
    except (ObtransferError, TypeError, KeyError, AttributeError):  # wrong entries are told elsewhere
        return False


def _is_taken(name: str) -> bool:
    model, _, tag = name.partition(".")
    return name in BACKBONES or tag in backbones.timm_table()["architectures"].get(model, {}).get("tags", {})


def _network(path: str, name: str, entry: Mapping[str, Any]) -> Iterator[str]:
    """The architecture is known, and so is what it sees."""
    model = entry.get("architecture", name.partition(".")[0])
    if not isinstance(model, str):
        return
    timm = backbones.timm_table()["architectures"]
    first = model.partition(".")[0]
    if first not in timm and first not in ARCHITECTURES:
        hint = backbones.near(first, [*timm, *ARCHITECTURES], 0.8)
        yield f"{path}: there is no architecture {first!r}; {hint}needed timm's name of one"
        return
    size = entry.get("input_size")
    usual = backbones.default_pixels(first)
    missing = [key for key in backbones.PIXELS if key not in entry and key not in usual]
    if missing:
        yield f"{path}: missing {', '.join(missing)}, which timm does not tell for {first}"
    fixed = timm.get(first, {}).get("fixed") and usual.get("input_size")
    if fixed and isinstance(size, int) and size != fixed:
        yield f"{path}.input_size: got {size}; {first} only takes images of {fixed} pixels"
    for key in ("mean", "std"):
        values = entry.get(key)
        if isinstance(values, list) and len(values) != 3:
            yield f"{path}.{key}: got {len(values)} numbers; needed 3, for red, green and blue"
