"""A network as an ONNX file, and what ONNX Runtime computes with it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from obtransfer.artifacts import atomic_path
from obtransfer.errors import ObtransferError
from obtransfer.models.contexts import evaluation_mode

Float32Array = npt.NDArray[np.float32]
INPUT, OUTPUT = "images", "outputs"
_LARGEST_GB = 2


def write_onnx(model: nn.Module, path: Path, input_size: int) -> None:
    """Write one file with the weights in it, for batches of any size of images [B, 3, S, S], normalised, float32.

    Stack traces and other words about this machine are left out, so that equal models give equal bytes.

    Args:
        model: on the CPU; not changed.
        path: the file.
        input_size: S.

    Raises:
        ObtransferError: the weights have 2 GB or more, which such a file cannot hold.
    """
    from onnx import ModelProto

    size = sum(tensor.nbytes for tensor in model.state_dict().values())
    if size >= _LARGEST_GB * 2**30:
        raise ObtransferError(
            f"an ONNX file holds less than {_LARGEST_GB} GB of weights; got a model with {size / 2**30:.1f} GB; export a "
            "smaller one"
        )
    images = torch.zeros(2, 3, input_size, input_size)
    with evaluation_mode(model), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns about its own code
        program = torch.onnx.export(
            model,
            (images,),
            dynamo=True,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            external_data=False,
            verbose=False,
        )
    assert program is not None
    proto: ModelProto = program.model_proto
    _forget_origin(proto)
    with atomic_path(path) as partial:
        partial.write_bytes(proto.SerializeToString(deterministic=True))


def _forget_origin(proto: Any) -> None:
    graph = proto.graph
    for item in (
        proto,
        graph,
        *graph.node,
        *graph.input,
        *graph.output,
        *graph.value_info,
        *graph.initializer,
    ):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")


def run_onnx(path: Path, images: Float32Array, *, threads: int, batch_size: int = 16) -> Float32Array:
    """Outputs of ONNX Runtime on the CPU for images [N, 3, S, S]."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    batches = range(0, len(images), batch_size)
    return np.concatenate(
        [session.run([OUTPUT], {INPUT: images[start : start + batch_size]})[0] for start in batches]
    )
