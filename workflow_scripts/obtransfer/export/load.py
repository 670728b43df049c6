"""An exported model, back from its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from obtransfer.artifacts import read_tensors
from obtransfer.export.classifier import new_classifier
from obtransfer.models.build import build
from obtransfer.models.load import load_strictly

KIND = "exported"


def load_exported(folder: Path | str) -> tuple[nn.Module, dict[str, Any]]:
    """The network of ``folder/model.safetensors`` in evaluation mode, and the card.

    For timm's architectures ``timm.create_model(name, num_classes=..., checkpoint_path=...)`` does the same; this
    knows the small ones too, and checks the file.

    Raises:
        ObtransferError: a missing or damaged file, or tensors that are not the architecture's.
    """
    path = Path(folder, "model.safetensors")
    artifact = read_tensors(path, kind=KIND)
    card: dict[str, Any] = json.loads(Path(folder, "card.json").read_text(encoding="utf-8"))
    model = build(artifact.metadata["architecture"])
    if artifact.metadata["num_classes"]:
        new_classifier(model, artifact.metadata["num_classes"])
    load_strictly(
        model, {name: torch.from_numpy(array) for name, array in artifact.tensors.items()}, str(path)
    )
    return model, card
