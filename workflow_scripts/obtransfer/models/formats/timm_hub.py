"""timm's own weights, from the Hugging Face hub or, for a few, from a URL of their publishers."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from obtransfer.errors import ObtransferError
from obtransfer.models.build import classifier
from obtransfer.models.checkpoint import state_dict_of
from obtransfer.models.formats.base import Format

if TYPE_CHECKING:
    from torch import Tensor

FILES = ("model.safetensors", "pytorch_model.bin")
"""In the order in which they are requested. A hub has one or both."""


def locate(address: str) -> dict[str, str]:
    """The URLs of a model on the hub: ``owner/model``, or ``owner/model@revision``.

    The environment variable HF_ENDPOINT names another hub. The name in the lock file stays the same, since the file must.
    """
    from huggingface_hub import hf_hub_url

    model, _, revision = address.partition("@")
    hub = os.environ.get("HF_ENDPOINT", "").rstrip("/") or None
    return {
        f"hub:{address}/{name}": hf_hub_url(model, name, revision=revision or None, endpoint=hub)
        for name in FILES
    }


def convert(checkpoint: Mapping[str, Any], architecture: str) -> dict[str, Tensor]:
    """The backbone without its classifier, as timm itself loads it, strictly.

    Many of timm's architectures rename or reshape what their file holds, and only their builders know how. So timm builds
    and loads the whole model, with the classifier of the weights, and the backbone is a part of the result.

    Args:
        checkpoint: name to tensor; not changed.
        architecture: timm's name with the tag, which sets how many classes the file's classifier has.

    Returns:
        float32 (or int64) tensors, to be loaded strictly.

    Raises:
        ObtransferError: timm finds names or shapes that differ, or that are missing.
    """
    import timm

    what = f"timm's {architecture}"
    state = state_dict_of(checkpoint, "", what)
    try:
        with _nothing_missing(what):
            model = timm.create_model(
                architecture, pretrained=True, pretrained_cfg_overlay={"state_dict": state}
            )
    except (RuntimeError, KeyError, ValueError, IndexError, AttributeError) as error:
        raise ObtransferError(
            f"{what} does not take this file: {error}; it is another model's, or of another version of timm"
        ) from error
    heads = tuple(f"{name}." for name in classifier(architecture))
    return {name: value for name, value in model.state_dict().items() if not name.startswith(heads)}


class _Memory(logging.Handler):
    """Keeps the messages."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@contextmanager
def _nothing_missing(what: str) -> Iterator[None]:
    """Turn missing tensors into an error where timm loads leniently (a few architectures) and only logs them."""
    handler, logger = _Memory(), logging.getLogger("timm.models._builder")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    for message in handler.messages:
        if message.startswith("Missing keys"):
            raise ObtransferError(
                f"{what}: {message.partition(' discovered')[0]}; the file is not this architecture's"
            )


FORMAT = Format(convert, locate=locate, reads=("weights_entry",), digits_in_name=True)
