"""What the DAG must know of a backbone, without importing timm: where it comes from, its kind, its pixels.

A name is `architecture.pretraining`: one of the registry, one of the configuration's `backbones`, or any tag of a timm
architecture. What timm says of those is in `timm_table.json`, which `make_timm_table.py` writes.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from obtransfer.config.settings import BackboneEntry
from obtransfer.errors import ObtransferError
from obtransfer.registry import ARCHITECTURES, BACKBONES, SOURCES, Architecture, Backbone

TABLE_PATH = Path(__file__).with_name("timm_table.json")
TIMM = "obtransfer.models.timm_hub"
PIXELS = ("input_size", "crop", "interpolation", "mean", "std")


@cache
def timm_table() -> dict[str, Any]:
    """Of every timm architecture: its kind, and the pixels of each of its pre-trainings, the default one first."""
    table: dict[str, Any] = json.loads(TABLE_PATH.read_text(encoding="utf-8"))
    return table


def backbone(own: Mapping[str, BackboneEntry], name: str) -> Backbone:
    """Where the weights called `name` come from, and the pixels that they were trained on.

    Args:
        own: the configuration's `backbones`.
        name: architecture.pretraining.

    Raises:
        ObtransferError: the name is unknown; lists the nearest that exist.
    """
    if name in BACKBONES:
        return BACKBONES[name]
    if name in own:
        return _configured(name, own[name])
    model, _, tag = name.partition(".")
    tags = timm_table()["architectures"].get(model, {}).get("tags", {})
    if tag not in tags:
        raise ObtransferError(_unknown(own, name))
    address = timm_table()["addresses"].get(name, f"timm/{name}")
    return Backbone(TIMM, address, None, **_pixels(tags[tag]), architecture=name)


def architecture(own: Mapping[str, BackboneEntry], name: str) -> Architecture:
    """The kind of network that the backbone called `name` is.

    Raises:
        ObtransferError: the backbone or its architecture is unknown.
    """
    model = timm_name(name, backbone(own, name).architecture).partition(".")[0]
    if model in ARCHITECTURES:
        return ARCHITECTURES[model]
    known = timm_table()["architectures"]
    if model not in known:
        raise ObtransferError(
            f"backbone {name!r}: there is no architecture {model!r}; {near(model, known)}it is timm's name"
        )
    return Architecture(known[model]["batchnorm"], known[model]["attention"])


def view(own: Mapping[str, BackboneEntry], name: str) -> str:
    """All that a task's pixels depend on of a backbone, as paths write it: ``224_crop875_bicubic``.

    Size in pixels, crop in thousandths, interpolation. The short side is resized to `size * 1000 // crop` pixels; of the
    thousandths that give the same as timm's ⌊size / crop⌋ the nearest are taken.
    """
    entry = backbone(own, name)
    return f"{entry.input_size}_crop{_thousandths(entry.input_size, entry.crop)}_{entry.interpolation}"


def timm_name(name: str, architecture: str) -> str:
    """What `obtransfer.models.build` calls the network of a backbone: its entry's `architecture`, else its first part."""
    return architecture or name.partition(".")[0]


def default_pixels(model: str) -> dict[str, Any]:
    """The pixels that a configured backbone has where it says nothing else; empty where nothing is known.

    Those of timm's default weights of the architecture.
    """
    tags = timm_table()["architectures"].get(model.partition(".")[0], {}).get("tags", {})
    return _pixels(next(iter(tags.values()))) if tags else {}


def _configured(name: str, entry: BackboneEntry) -> Backbone:
    model = entry.architecture or name.partition(".")[0]
    given = {key: value for key, value in vars(entry).items() if value is not None}
    found = {"sha256": None, **default_pixels(model), **given}
    missing = [key for key in PIXELS if key not in found]
    if missing:
        raise ObtransferError(
            f"backbones.{name}: missing {', '.join(missing)}, which timm does not know of {model}"
        )
    return Backbone(source=SOURCES[found.pop("format")], **found)


def _pixels(number: int) -> dict[str, Any]:
    values = dict(zip(PIXELS, timm_table()["pixels"][number], strict=True))
    return {**values, "mean": tuple(values["mean"]), "std": tuple(values["std"])}


@cache
def _thousandths(size: int, crop: float) -> int:
    resized = int(size / crop)
    near = sorted(range(1, 2000), key=lambda number: (abs(number - 1000 * crop), number))
    return next((number for number in near if size * 1000 // number == resized), near[0])


def _unknown(own: Mapping[str, BackboneEntry], name: str) -> str:
    model, _, tag = name.partition(".")
    named = [*BACKBONES, *own]
    timm = timm_table()["architectures"]
    same = [known.partition(".")[2] for known in named if known.startswith(f"{model}.")]
    same += timm.get(model, {}).get("tags", {})
    if same:
        return f"unknown pretraining of {model}: {tag!r}; {near(tag, same)}there are: {', '.join(same)}"
    every = [*named, *(f"{model}.{tag}" for model, entry in timm.items() for tag in entry["tags"])]
    listed = f"there are: {', '.join(named)}, and timm's {len(every) - len(named)} (timm.list_pretrained)"
    return f"unknown backbone {name!r}; {near(name, every, 0.8)}{listed}"


def near(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """``did you mean 'x' or 'y'? `` for the nearest known words, or nothing if none is near."""
    found = difflib.get_close_matches(word.lower(), list(known), n=3, cutoff=cutoff)
    return f"did you mean {' or '.join(map(repr, found))}? " if found else ""
