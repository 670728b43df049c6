"""A server of files that misbehaves on demand, and weights in their publishers' formats."""

import hashlib
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor


class FileServer(ThreadingHTTPServer):
    """Serves `files` (path -> bytes or a file on the disk); `behaviour` is what it does with the next requests.

    cut: half of what is left, then the connection ends. wrong: other bytes. stall: half, then nothing for `stall_s`.
    An integer: that status. Anything else, and after the list has ended: what was asked for.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes | Path] = {}
        self.behaviour: list[str | int] = []
        self.headers: dict[str, str] = {}
        self.redirections: dict[str, tuple[str, dict[str, str]]] = {}
        self.ranges, self.etag, self.stall_s = True, True, 5.0
        self.asked: list[tuple[str, str | None]] = []

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has given up is what some tests are about."""

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.asked.append((self.path, wanted))
        what = self.server.behaviour.pop(0) if self.server.behaviour else "serve"
        if self.path in self.server.redirections:
            target, headers = self.server.redirections[self.path]
            self._answer(302, {"Location": target, "Content-Length": "0", **headers})
            return
        if isinstance(what, int) or self.path not in self.server.files:
            self._answer(
                what if isinstance(what, int) else 404, {"Content-Length": "0", **self.server.headers}
            )
            return
        found = self.server.files[self.path]
        self._serve(found if isinstance(found, bytes) else found.read_bytes(), wanted, str(what))

    def _serve(self, content: bytes, wanted: str | None, what: str) -> None:
        etag = f'"{hashlib.md5(content).hexdigest()}"'
        same = self.headers.get("If-Range") in (None, etag)
        start = (
            int(wanted.removeprefix("bytes=").removesuffix("-"))
            if wanted and self.server.ranges and same
            else 0
        )
        if start >= len(content) > 0:
            self._answer(416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"})
            return
        headers = {"Content-Length": str(len(content) - start)}
        if self.server.etag:
            headers["ETag"] = etag
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        self._answer(206 if start else 200, headers)
        body = content[start:]
        if what == "wrong":
            body = bytes(len(body))
        if what in ("cut", "stall"):
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            if what == "stall":
                threading.Event().wait(self.server.stall_s)
            self.close_connection = True
            return
        self.wfile.write(body)

    def _answer(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[FileServer]:
    """Knows ranges and ETags and does what it should, unless the test says otherwise."""
    made = FileServer()
    thread = threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses between attempts are not made, but noted."""
    made: list[float] = []
    monkeypatch.setattr("obtransfer.models.transfer.time.sleep", made.append)
    return made


def numbers(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """A half-precision tensor of every shape, no two of which are equal; an empty shape is a counter.

    Cheap: pieces of one long row of numbers, each beginning at another place.
    """
    row = torch.rand(1 << 20, generator=torch.Generator().manual_seed(0)).half()
    made = {}
    for index, (name, shape) in enumerate(shapes.items()):
        count = math.prod(shape)
        piece = row.roll(-7919 * (index + 1)).repeat(count // len(row) + 1)[:count].reshape(shape)
        made[name] = piece * 0.1 if shape else torch.tensor(index)
    return made


def resnet50_shapes(*, with_classifier: bool, counters: bool = True) -> dict[str, tuple[int, ...]]:
    """torchvision's names, which every publisher of a ResNet-50 uses."""
    with torch.device("meta"):
        model = torchvision.models.resnet50()
    return {
        name: tuple(value.shape)
        for name, value in model.state_dict().items()
        if (with_classifier or not name.startswith("fc.")) and (counters or not name.endswith("tracked"))
    }


def vit_shapes(width: int, depth: int = 12) -> dict[str, tuple[int, ...]]:
    """The names of DINO's and MoCo v3's transformers for 224 pixels in patches of 16, written down by hand."""
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, 1 + 14 * 14, width),
        "patch_embed.proj.weight": (width, 3, 16, 16),
        "patch_embed.proj.bias": (width,),
    }
    for block in range(depth):
        layers = {"attn.qkv": (3 * width, width), "attn.proj": (width, width)}
        layers |= {"mlp.fc1": (4 * width, width), "mlp.fc2": (width, 4 * width)}
        for norm in ("norm1", "norm2"):
            shapes |= {f"blocks.{block}.{norm}.{part}": (width,) for part in ("weight", "bias")}
        for layer, (rows, columns) in layers.items():
            shapes[f"blocks.{block}.{layer}.weight"] = (rows, columns)
            shapes[f"blocks.{block}.{layer}.bias"] = (rows,)
    return shapes | {"norm.weight": (width,), "norm.bias": (width,)}


def shadow(values: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Tensors of the same shapes that take no room in a file: what a source must leave out."""
    return {f"{prefix}{name}": torch.zeros(()).expand(value.shape) for name, value in values.items()}


def perceptron(widths: tuple[int, ...], prefix: str) -> dict[str, Tensor]:
    """MoCo v3's projection and prediction heads: linear layers without bias, each with a BatchNorm, and ReLUs between."""
    made: dict[str, Tensor] = {}
    for index, (before, after) in enumerate(pairwise(widths)):
        made[f"{prefix}{3 * index}.weight"] = torch.zeros(()).expand(after, before)
        names = ["running_mean", "running_var"] + (["weight", "bias"] if index < len(widths) - 2 else [])
        made |= {f"{prefix}{3 * index + 1}.{name}": torch.zeros(()).expand(after) for name in names}
        made[f"{prefix}{3 * index + 1}.num_batches_tracked"] = torch.tensor(0)
    return made


@pytest.fixture(scope="session")
def resnet50() -> dict[str, Tensor]:
    """A ResNet-50 without classifier, under its own names."""
    return numbers(resnet50_shapes(with_classifier=False))


@pytest.fixture(scope="session")
def vit_base() -> dict[str, Tensor]:
    """A ViT-B/16 without classifier, under its own names."""
    return numbers(vit_shapes(768))


def mocov2_file(backbone: Mapping[str, Tensor]) -> dict[str, Any]:
    """moco_v2_800ep_pretrain.pth.tar."""
    encoder = dict(backbone) | {
        f"fc.{layer}.{part}": torch.zeros(()).expand(shape)
        for layer, rows in ((0, 2048), (2, 128))
        for part, shape in (("weight", (rows, 2048)), ("bias", (rows,)))
    }
    state = {f"module.encoder_q.{name}": value for name, value in encoder.items()}
    state |= shadow(encoder, "module.encoder_k.")
    state |= {"module.queue": torch.zeros(()).expand(128, 65536), "module.queue_ptr": torch.zeros(1).long()}
    return {"epoch": 800, "arch": "resnet50", "state_dict": state}


def mocov3_file(backbone: Mapping[str, Tensor], width: int) -> dict[str, Any]:
    """vit-b-300ep.pth.tar and vit-s-300ep.pth.tar, with the state of an optimiser."""
    head = perceptron((width, 4096, 4096, 256), "head.")
    state = {f"module.base_encoder.{name}": value for name, value in (dict(backbone) | head).items()}
    state |= shadow(dict(backbone) | head, "module.momentum_encoder.")
    state |= perceptron((256, 4096, 256), "module.predictor.")
    optimizer = {
        "state": {0: {"step": 1, "exp_avg": torch.zeros(3)}},
        "param_groups": [{"lr": 1e-4, "params": [0]}],
    }
    return {
        "epoch": 300,
        "arch": "vit",
        "state_dict": state,
        "optimizer": optimizer,
        "scaler": {"scale": 65536.0},
    }


def with_classifier(backbone: Mapping[str, Tensor], name: str, width: int) -> dict[str, Tensor]:
    """The backbone with a classifier of 1000 classes."""
    head = {f"{name}.weight": torch.zeros(()).expand(1000, width), f"{name}.bias": torch.zeros(1000)}
    return dict(backbone) | head


FORMATS: dict[str, Callable[[Mapping[str, Tensor]], dict[str, Any]]] = {
    "mocov2": mocov2_file,
    "mocov3": lambda backbone: mocov3_file(backbone, 768),
    "dino": dict,
    "torchvision": lambda backbone: with_classifier(backbone, "fc", 2048),
    "timm_resnet": lambda backbone: with_classifier(backbone, "fc", 2048),
    "timm_vit": lambda backbone: with_classifier(backbone, "head", 768),
}


@pytest.fixture(scope="session")
def official() -> Callable[[str, Mapping[str, Tensor]], dict[str, Any]]:
    """What a publisher's file holds, by source, for a given backbone."""
    return lambda source, backbone: FORMATS[source](backbone)
