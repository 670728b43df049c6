"""The progress of a fine-tuning run: written atomically, read only if whole and of the same run."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from obtransfer.artifacts import Artifact, read_tensors, write_tensors
from obtransfer.errors import ObtransferError
from obtransfer.finetune.run import TrainingRun
from obtransfer.models.contexts import device_of

History = list[dict[str, float]]

_MODEL, _MOMENTUM = "model.", "momentum."


@dataclasses.dataclass
class Position:
    """How far a run is.

    Attributes:
        history: one entry for each finished epoch.
        step: finished steps of the epoch after those.
        loss_sum: Σ of the examples' losses in these steps.
    """

    history: History = dataclasses.field(default_factory=list)
    step: int = 0
    loss_sum: float = 0.0


def fingerprint(run: TrainingRun) -> str:
    """SHA-256 of all that a run depends on, its masked model included; runs with the same one may share a checkpoint.

    Returns:
        64 hexadecimal digits.
    """
    preprocessing = run.backbone.preprocessing
    facts = {
        "settings": dataclasses.asdict(run.settings),
        "seed": run.seed,
        "precision": run.precision,
        "mean": preprocessing.mean,
        "std": preprocessing.std,
        "device": device_of(run.model).type,
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    arrays = {f"model {name}": tensor.cpu().numpy() for name, tensor in run.model.state_dict().items()}
    arrays |= {
        f"mask {name}": np.asarray(layer) for name, layer in (run.mask.kept if run.mask else {}).items()
    }
    arrays |= {"head weight": run.head.weight, "head bias": run.head.bias}
    arrays |= {"pixels": run.pixels, "labels": run.labels}
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape};".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def save_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, position: Position, identity: str
) -> None:
    """Write weights, buffers, momentum and position between two steps.

    Args:
        path: replaced in one step: a kill leaves the old or the new one, whole.
        model: its state_dict is written.
        optimizer: SGD over parameters of the model; its momentum buffers are written.
        position: of the run.
        identity: `fingerprint` of the run.
    """
    tensors = {_MODEL + name: tensor.detach().cpu().numpy() for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        buffer = optimizer.state[parameter].get("momentum_buffer") if parameter in optimizer.state else None
        if buffer is not None:
            tensors[_MOMENTUM + name] = buffer.detach().cpu().numpy()
    card = {"fingerprint": identity, **dataclasses.asdict(position)}
    write_tensors(path, tensors, kind="checkpoint", metadata=card)


def resume(path: Path | None, model: nn.Module, optimizer: torch.optim.Optimizer, identity: str) -> Position:
    """Bring model and optimiser to where this run's checkpoint left them, if there is one.

    A checkpoint that is truncated, altered or another run's is not used: a warning says so, and the run starts over.
    Nothing is unpickled.

    Args:
        path: the checkpoint, which need not exist; None for no checkpoints.
        model: changed in place when the checkpoint is used.
        optimizer: likewise.
        identity: `fingerprint` of this run.

    Returns:
        Where to go on.
    """
    if path is None or not path.exists():
        return Position()
    try:
        saved = read_tensors(path, kind="checkpoint")
        if saved.metadata["fingerprint"] != identity:
            raise ObtransferError(f"{path} belongs to a run with other settings, mask, seed, weights or data")
        card = saved.metadata
        position = Position(card["history"], card["step"], card["loss_sum"])
    except (ObtransferError, OSError, KeyError) as error:
        warnings.warn(f"checkpoint not used, fine-tuning starts over: {error}", stacklevel=3)
        return Position()
    _restore(saved, model, optimizer)
    return position


def _restore(saved: Artifact, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Copy the saved tensors in; names and shapes fit, since the fingerprint covers them."""
    model.load_state_dict(_with_prefix(saved.tensors, _MODEL))
    momentum = _with_prefix(saved.tensors, _MOMENTUM)
    for name, parameter in model.named_parameters():
        if name in momentum:
            optimizer.state[parameter]["momentum_buffer"] = momentum[name].to(parameter.device)


def _with_prefix(tensors: Mapping[str, npt.NDArray[Any]], prefix: str) -> dict[str, torch.Tensor]:
    """The tensors of one group, without its prefix."""
    return {n.removeprefix(prefix): torch.from_numpy(t) for n, t in tensors.items() if n.startswith(prefix)}
