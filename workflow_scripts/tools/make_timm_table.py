"""Write obtransfer/models/timm_table.json from the installed timm: run it when timm's version in envs/requirements.txt changes.

Every architecture is built on torch's meta device (no memory, no weights) and run once on one image of its size. Whether
hooks see every example at every layer is decided by the architecture's name. With --examples, only this is written again.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import timm
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from obtransfer.models.build import classifier
from obtransfer.models.prunable import computes_kernels
from obtransfer.models.published import TABLE_PATH
from timm.models import PretrainedCfg, get_pretrained_cfg
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

_PRODUCTS = {
    "matmul",
    "__matmul__",
    "__rmatmul__",
    "bmm",
    "baddbmm",
    "einsum",
    "scaled_dot_product_attention",
}
_MODES = {"center", "squash", "border"}

_HIDDEN = {
    "windows, channels or tokens are folded into the batch": (
        r"swin_|swinv2_|davit_|gcvit_|mvitv2_|tiny_vit_|tnt_|xcit_|maxvit_|maxxvit_|maxxvitv2_|mobilevit_|efficientvit_m\d|"
        r"hieradet_|sam2_hiera_|samvit_(base|large|huge)_patch16$"
    ),
    "a network of positions has a batch of its own": r"(test_)?vit_s?relpos|coatnet_rmlp_",
    "queries, keys and values use the weight of a layer that is not called": (
        r"beit_|beitv2_|eva_giant_|eva02_(tiny|small|enormous)_|vit_\w+_dinov3_qkvb$|vit_(small|base|large)_patch16_lingbot$|"
        r"vit_\w+_patch16_rope_reg\d_gap_256$(?<!mediumd_patch16_rope_reg1_gap_256)"
    ),
}
"""Why hooks do not see every example at every layer -> names of architectures, read off the source of their networks.

`tests/unit/models/test_hidden_examples.py` compares them with what a probe finds.
"""


class _Products(TorchFunctionMode):
    """Looks for matrix products of two tensors that are both no weights, as in attention of any kind."""

    found = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") in _PRODUCTS:
            tensors = [arg for arg in _flat(args) if isinstance(arg, torch.Tensor)]
            self.found |= sum(not isinstance(tensor, nn.Parameter) for tensor in tensors) > 1
        return func(*args, **(kwargs or {}))


def _flat(values: Any) -> Iterator[Any]:
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _flat(value)
        else:
            yield value


def main() -> None:
    """Write the table, and print what is left out."""
    pixels: list[list[Any]] = []
    architectures: dict[str, Any] = {}
    addresses: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for model in timm.list_models():
        try:
            entry = describe(model)
        except Exception as error:  # noqa: BLE001  whatever timm's constructors raise is printed
            left_out[model] = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            continue
        tags: dict[str, int] = {}
        for tag, config in _tags(model):
            values = _pixels(config)
            if values not in pixels:
                pixels.append(values)
            tags[tag] = pixels.index(values)
            if config.hf_hub_id != f"timm/{model}.{tag}":
                addresses[f"{model}.{tag}"] = config.hf_hub_id or str(config.url)
        architectures[model] = {**entry, **examples(model), "tags": tags}
        print(len(architectures), model, entry, file=sys.stderr, flush=True)
    write(pixels, architectures, addresses)
    count(architectures)
    for model, why in left_out.items():
        print(f"left out: {model}: {why}")


def examples(model: str) -> dict[str, bool]:
    """`per_example` of an architecture, where it is false."""
    return {"per_example": False} if any(re.match(names, model) for names in _HIDDEN.values()) else {}


def only_examples() -> None:
    """Write `per_example` into the table that is there."""
    table = json.loads(TABLE_PATH.read_text(encoding="utf-8"))
    for model, entry in table["architectures"].items():
        tags = entry.pop("tags")
        entry.pop("per_example", None)
        entry |= {**examples(model), "tags": tags}
    write(table["pixels"], table["architectures"], table["addresses"])
    count(table["architectures"])


def count(architectures: dict[str, Any]) -> None:
    """Print how many architectures there are for each family of criteria, as docs/weights.md lists them."""
    known = {model: entry for model, entry in architectures.items() if not entry.get("computes_kernels")}
    print(f"{len(known)}: criteria without curvature, and with derivatives of the whole loss")
    print(f"{sum(entry.get('per_example', True) for entry in known.values())}: gradients of single examples")
    print(f"{sum(not entry['attention'] for entry in known.values())}: no attention")
    for reason, names in _HIDDEN.items():
        print(f"{sum(bool(re.match(names, model)) for model in known)}: {reason}")


def describe(model: str) -> dict[str, Any]:
    """Kind of an architecture.

    Raises:
        ValueError: it returns no features [B, D], or other parts than the classifier depend on the number of classes.
    """
    default: Any = get_pretrained_cfg(model) or PretrainedCfg()
    size = default.input_size
    if size[0] != 3 or size[1] != size[2]:
        raise ValueError(f"reads images {list(size)}")
    with torch.device("meta"):
        network: Any = timm.create_model(model, num_classes=0).eval()
        full: Any = timm.create_model(model)
        products = _Products()
        with torch.no_grad(), products:
            features = network(torch.zeros(2, *size))
    width = getattr(network, "head_hidden_size", network.num_features)
    if not isinstance(features, torch.Tensor) or features.shape != (2, width):
        raise ValueError(f"features {getattr(features, 'shape', type(features))}, not [2, {width}]")
    heads = tuple(f"{name}." for name in classifier(model))
    differ = {name for name in full.state_dict() if not name.startswith(heads)} ^ set(network.state_dict())
    if differ:
        raise ValueError(f"more than the classifier {heads} differs: {differ}")
    batchnorm = any(isinstance(m, _BatchNorm) and m.running_mean is not None for m in network.modules())
    fixed = bool(network.pretrained_cfg.get("fixed_input_size"))
    kinds = {"batchnorm": batchnorm, "attention": products.found, "fixed": fixed}
    return {**kinds, "computes_kernels": True} if computes_kernels(network) else kinds


def _tags(model: str) -> Iterator[tuple[str, PretrainedCfg]]:
    """Pre-trainings of an architecture with weights, timm's default first."""
    names = [name for name in timm.list_pretrained(f"{model}.*") if name.partition(".")[0] == model]
    default = get_pretrained_cfg(model)
    for name in sorted(names, key=lambda name: default is None or name.partition(".")[2] != default.tag):
        config = get_pretrained_cfg(name)
        if config is not None and (config.hf_hub_id or config.url) and config.crop_mode in _MODES:
            yield name.partition(".")[2], config


def _pixels(config: PretrainedCfg) -> list[Any]:
    return [config.input_size[1], config.crop_pct, config.interpolation, list(config.mean), list(config.std)]


def write(pixels: list[list[Any]], architectures: dict[str, Any], addresses: dict[str, str]) -> None:
    """One line per entry, so that the differences of a new timm are readable."""
    parts = [f'"timm": {json.dumps(timm.__version__)}']
    parts.append(f'"pixels": [\n{_lines(json.dumps(values) for values in pixels)}\n]')
    for key, values in (("addresses", addresses), ("architectures", architectures)):
        body = _lines(f"{json.dumps(name)}: {json.dumps(values[name])}" for name in sorted(values))
        parts.append(f'"{key}": {{\n{body}\n}}')
    TABLE_PATH.write_text("{" + ",\n".join(parts) + "}\n", encoding="utf-8")


def _lines(items: Iterator[str]) -> str:
    return ",\n".join(items)


if __name__ == "__main__":
    if sys.argv[1:] == ["--examples"]:
        only_examples()
    else:
        main()
