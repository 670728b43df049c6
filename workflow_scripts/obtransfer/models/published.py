"""What the DAG must know of a backbone, without importing timm: its weights, its kind of network, its preprocessing.

A name is `architecture.pretraining`: one of the registry, one of the configuration's `backbones`, or any tag of a timm
architecture. `timm_table.json`, which `make_timm_table.py` writes, holds what timm knows of those.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, replace
from functools import cache
from pathlib import Path
from typing import NotRequired, TypedDict

from obtransfer.errors import ObtransferError, did_you_mean
from obtransfer.models.known import ARCHITECTURES, BACKBONES, Architecture, PublishedWeights
from obtransfer.models.preprocessing import Preprocessing
from obtransfer.registry import FORMATS
from obtransfer.settings import BackboneEntry, KeysByOrder

TABLE_PATH = Path(__file__).with_name("timm_table.json")
KEYS = tuple(field.name for field in fields(Preprocessing))


class TimmArchitecture(TypedDict):
    """`fixed`: whether it reads images of one size only; `computes_kernels`: as in `Architecture`; `tags`: to indices of
    `pixels`, the default tag first; `per_example`: whether hooks see every example at every layer."""

    batchnorm: bool
    attention: bool
    fixed: bool
    computes_kernels: NotRequired[bool]
    tags: dict[str, int]
    per_example: NotRequired[bool]


class TimmTable(TypedDict):
    """`pixels`: values of `KEYS`; `addresses`: of tags that are not at ``timm/<name>`` on the hub."""

    timm: str
    pixels: list[list[object]]
    addresses: dict[str, str]
    architectures: dict[str, TimmArchitecture]


@cache
def timm_table() -> TimmTable:
    """What timm knows of its architectures."""
    table: TimmTable = json.loads(TABLE_PATH.read_text(encoding="utf-8"))
    return table


def published_weights(own: Mapping[str, BackboneEntry], name: str) -> PublishedWeights:
    """Where the weights called `name` are, and how their network reads images.

    Args:
        own: the configuration's `backbones`.
        name: architecture.pretraining.

    Raises:
        ObtransferError: the name is unknown; lists the nearest that exist.
    """
    model, _, tag = name.partition(".")
    if name in BACKBONES:
        found = BACKBONES[name]
        return replace(found, architecture=found.architecture or model)
    if name in own:
        return _configured(name, own[name])
    tags = _tags(model)
    if tag not in tags:
        raise ObtransferError(_unknown(own, name))
    address = timm_table()["addresses"].get(name, f"timm/{name}")
    return PublishedWeights("timm_hub", address, _preprocessing(tags[tag]), architecture=name)


def architecture(own: Mapping[str, BackboneEntry], name: str) -> Architecture:
    """The kind of network that the backbone called `name` is.

    Raises:
        ObtransferError: the backbone or its architecture is unknown.
    """
    model = published_weights(own, name).architecture.partition(".")[0]
    if model in ARCHITECTURES:
        return ARCHITECTURES[model]
    known = timm_table()["architectures"]
    if model not in known:
        raise ObtransferError(
            f"backbone {name!r}: there is no architecture {model!r}; {did_you_mean(model, known)}write timm's name of one"
        )
    found = known[model]
    return Architecture(found["batchnorm"], found["attention"], found.get("computes_kernels", False))


def view(own: Mapping[str, BackboneEntry], name: str) -> str:
    """What a task's pixels depend on of a backbone, as paths write it: ``224_crop875_bicubic``."""
    return published_weights(own, name).preprocessing.view


def usual_preprocessing(model: str) -> Preprocessing | None:
    """That of timm's default weights of an architecture; None where timm has none."""
    tags = _tags(model)
    return _preprocessing(next(iter(tags.values()))) if tags else None


def local_file(weights: PublishedWeights) -> Path | None:
    """The file that the address of weights names by its path; None for weights from elsewhere."""
    path = FORMATS[weights.format].path(weights.address)
    return Path(path.removeprefix("file:")) if path else None


def _configured(name: str, entry: BackboneEntry) -> PublishedWeights:
    model = entry.architecture or name.partition(".")[0]
    usual = usual_preprocessing(model)
    values = asdict(usual) if usual else {}
    values |= {key: value for key in KEYS if (value := getattr(entry, key)) is not None}
    missing = [key for key in KEYS if key not in values]
    if missing:
        raise ObtransferError(
            f"backbones.{name}: missing {', '.join(missing)}, which timm does not know of {model}"
        )
    key_map = "order" if isinstance(entry.key_map, KeysByOrder) else entry.key_map
    return PublishedWeights(
        entry.format,
        entry.address,
        Preprocessing.read(values),
        model,
        entry.sha256,
        entry.weights_entry or "",
        entry.strip or "",
        key_map or (),  # type: ignore[arg-type]
    )


def _tags(model: str) -> dict[str, int]:
    known = timm_table()["architectures"].get(model.partition(".")[0])
    return known["tags"] if known else {}


def _preprocessing(index: int) -> Preprocessing:
    return Preprocessing.read(dict(zip(KEYS, timm_table()["pixels"][index], strict=True)))


def _unknown(own: Iterable[str], name: str) -> str:
    model, _, tag = name.partition(".")
    named = [*BACKBONES, *own]
    timm = timm_table()["architectures"]
    same = [known.partition(".")[2] for known in named if known.startswith(f"{model}.")] + [*_tags(model)]
    if same:
        return (
            f"unknown pretraining of {model}: {tag!r}; {did_you_mean(tag, same)}there are: {', '.join(same)}"
        )
    every = [*named, *(f"{model}.{tag}" for model, entry in timm.items() for tag in entry["tags"])]
    listed = f"there are: {', '.join(named)}, and timm's {len(every) - len(named)} (timm.list_pretrained)"
    return f"unknown backbone {name!r}; {did_you_mean(name, every)}{listed}"
