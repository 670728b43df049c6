"""The card that goes with an exported model: how it was made, what it can do and what it costs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from obtransfer.artifacts import atomic_path, read_tensors
from obtransfer.export.flops import Flops
from obtransfer.export.sizes import count_bytes
from obtransfer.masks.statistics import layer_rows

OF_THE_BACKBONE = (
    "backbone", "architecture", "pretraining", "num_features", "input_size", "mean", "std", "crop", "interpolation",
)  # fmt: skip
_PACKAGES = ("onnx", "onnxruntime", "onnxscript")


def model_section(about: Mapping[str, Any], form: str, classes: Sequence[Any]) -> dict[str, Any]:
    """What the network is and reads; `classes` are those of its logits, none where it gives features."""
    import timm

    known = {key: about[key] for key in OF_THE_BACKBONE if key in about}
    in_timm = timm.is_model(known["architecture"].partition(".")[0])
    return known | {
        "form": form,
        "num_classes": len(classes),
        "classes": list(classes),
        "in_timm": in_timm,
    }


def cost_sections(
    state: Mapping[str, np.ndarray], mask: Mapping[str, np.ndarray], flops: Flops
) -> dict[str, Any]:
    """Sparsity by layer and in all, FLOPs of one image, and bytes."""
    thin = flops.sparse_layers(mask)
    layers = [
        {
            **row,
            "shape": list(mask[row["layer"]].shape),
            "flops_dense": flops.layers.get(row["layer"], 0),
            "flops_sparse": thin.get(row["layer"], 0),
        }
        for row in layer_rows(mask)
    ]
    num_weights, num_removed = (sum(row[key] for row in layers) for key in ("num_weights", "num_removed"))
    values = sum(array.size for array in state.values())
    return {
        "sparsity": {
            "num_weights": num_weights,
            "num_removed": num_removed,
            "of_prunable": num_removed / num_weights,
            "of_all": num_removed / values,
            "layers": layers,
        },
        "flops": {
            "dense": flops.dense(),
            "sparse": flops.sparse(mask),
            "attention": flops.attention,
            "other": flops.other,
        },
        "bytes": count_bytes(state, mask),
    }


def upstream(about: Mapping[str, Any], mask: Path | None) -> dict[str, Any]:
    """How the files that the model is made of were made, and which file the pre-trained weights are from."""
    made = {
        "weights": about["made"],
        "mask": read_tensors(mask, kind="mask").metadata["made"] if mask else {},
    }
    return {"checkpoint": about.get("checkpoint", {}), **made}


def packages() -> dict[str, str]:
    """Versions of what makes and checks the ONNX file."""
    return {package: version(package) for package in _PACKAGES}


def write_card(card: Mapping[str, Any], path: Path) -> None:
    """As JSON."""
    with atomic_path(path) as partial:
        partial.write_text(json.dumps(card, indent=1, sort_keys=True) + "\n", encoding="utf-8")
