"""The inputs of a convolution as one matrix per example, which is unfolded when something computes with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.utils._pytree import tree_map

CONV2D_SAME = ("timm.layers.conv2d_same", "Conv2dSame.forward")
"""Module and name of the forward of timm's `Conv2dSame`, which pads as TensorFlow's 'SAME': by the size of the input."""


def _pads_to_size(module: nn.Module) -> bool:
    forward = type(module).forward
    return (forward.__module__, forward.__qualname__) == CONV2D_SAME


def _same_sides(size: int, reach: int, stride: int) -> tuple[int, int]:
    """Zeros before and after a side for ceil(size / stride) outputs, an odd one last; `reach`: dilation · (kernel - 1)."""
    total = max((-(-size // stride) - 1) * stride + reach + 1 - size, 0)
    return total // 2, total - total // 2


class Geometry(NamedTuple):
    """What a convolution does to a map; pairs are (vertical, horizontal)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    sides: tuple[int, int, int, int]  # zeros on the left, on the right, on top, at the bottom
    groups: int

    @classmethod
    def of(cls, module: nn.Conv2d, height: int, width: int) -> Geometry:
        """The geometry of a layer for maps of this size. Padding 'same' puts an odd zero last."""
        (kh, kw), (sh, sw), (dh, dw) = module.kernel_size, module.stride, module.dilation
        if _pads_to_size(module):
            (top, bottom), (left, right) = [
                _same_sides(size, dilation * (kernel - 1), stride)
                for size, kernel, stride, dilation in ((height, kh, sh, dh), (width, kw, sw, dw))
            ]
        elif isinstance(module.padding, str):
            totals = (dh * (kh - 1), dw * (kw - 1)) if module.padding == "same" else (0, 0)
            (top, bottom), (left, right) = [(total // 2, total - total // 2) for total in totals]
        else:
            top, left = bottom, right = module.padding
        return cls((kh, kw), (sh, sw), (dh, dw), (left, right, top, bottom), module.groups)

    def output(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the output."""
        left, right, top, bottom = self.sides
        (kh, kw), (sh, sw), (dh, dw) = self.kernel, self.stride, self.dilation
        return (height + top + bottom - dh * (kh - 1) - 1) // sh + 1, (
            width + left + right - dw * (kw - 1) - 1
        ) // sw + 1


class Patches(Tensor):
    """[B, G, I, L]: under the kernel at each of L output positions, I = C / G · kh · kw inputs of group c.

    Holds only the maps [B, C, H, W], which are I · G · L / (C · H · W) times smaller. Any torch function makes the whole
    tensor, except a slice of the examples, which is lazy as well.

    Trap: the whole tensor is made each time, and changes with the maps.
    """

    maps: Tensor
    geometry: Geometry

    @staticmethod
    def __new__(cls, maps: Tensor, geometry: Geometry) -> Self:
        """A tensor of the right shape, without storage."""
        (kh, kw), groups = geometry.kernel, geometry.groups
        size, channels, height, width = maps.shape
        out_h, out_w = geometry.output(height, width)
        shape = (size, groups, channels // groups * kh * kw, out_h * out_w)
        made: Self = Tensor._make_wrapper_subclass(cls, shape, dtype=maps.dtype, device=maps.device)
        made.maps, made.geometry = maps, geometry
        return made

    def __init__(self, maps: Tensor, geometry: Geometry) -> None:
        """Does nothing; see `__new__`."""

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch's stub knows no class method
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Compute with the unfolded tensor."""
        if func is torch.ops.aten.slice.Tensor and len(args) == 4 and args[1] == 0:
            return args[0].of_examples(args[2], args[3])
        return func(*tree_map(_unfolded, args), **tree_map(_unfolded, dict(kwargs or {})))

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        """The shape and the geometry; nothing is unfolded."""
        return f"Patches(shape={tuple(self.shape)}, dtype={self.dtype}, {self.geometry})"

    @property
    def output(self) -> tuple[int, int]:
        """Height and width of the output, L = height · width."""
        return self.geometry.output(*self.maps.shape[2:])

    def of_examples(self, start: int | None, stop: int | None) -> Patches:
        """The same layer for some of the examples."""
        return Patches(self.maps[start:stop], self.geometry)

    def unfold_rows(self) -> Tensor:
        """[B, G, I, L] with I in the order of the weight: channels, then the kernel's rows and columns."""
        maps = pad(self.maps, self.geometry.sides) if any(self.geometry.sides) else self.maps
        view = self._under_kernel(maps.permute(0, 2, 3, 1)).permute(0, 5, 3, 4, 1, 2)
        return view.reshape(self.shape).contiguous()  # a view of maps would have other strides than promised

    def unfold_channels_last(self, examples: int) -> Iterator[Tensor]:
        """Parts [examples, 1, I, L] of a layer of one group, with I in another order: kernel, then channels.

        Whole runs of channels are copied, several times faster than single numbers in the weight's order. Each part
        overwrites the one before.
        """
        left, right, top, bottom = self.geometry.sides
        size, channels, height, width = self.maps.shape
        examples = min(examples, size)
        padded = self.maps.new_zeros(examples, top + height + bottom, left + width + right, channels)
        inside = padded[:, top : top + height, left : left + width]
        under_kernel = self._under_kernel(padded)
        buffer = torch.empty_like(under_kernel, memory_format=torch.contiguous_format)
        for part in self.maps.permute(0, 2, 3, 1).split(examples):
            inside[: len(part)].copy_(part)
            buffer[: len(part)].copy_(under_kernel[: len(part)])
            yield buffer[: len(part)].view(len(part), 1, self.shape[3], -1).transpose(2, 3)

    def _under_kernel(self, padded: Tensor) -> Tensor:
        """A view [B, oh, ow, kh, kw, C] of padded maps [B, H, W, C]."""
        (kh, kw), (sh, sw), (dh, dw) = self.geometry.kernel, self.geometry.stride, self.geometry.dilation
        n, h, w, c = padded.stride()
        return padded.as_strided(
            (len(padded), *self.output, kh, kw, padded.shape[3]),
            (n, h * sh, w * sw, h * dh, w * dw, c),
            padded.storage_offset(),
        )

    def windows(self) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice]]]:
        """For every place in the kernel, row-major: the rows and columns of the map that it meets, and of the output.

        Zeros of the padding are left out.
        """
        left, _, top, _ = self.geometry.sides
        (kh, kw), (sh, sw), (dh, dw) = self.geometry.kernel, self.geometry.stride, self.geometry.dilation
        (height, width), (out_h, out_w) = self.maps.shape[2:], self.output
        for shift_y in range(-top, kh * dh - top, dh):
            ys, rows = _inside(shift_y, sh, height, out_h)
            for shift_x in range(-left, kw * dw - left, dw):
                xs, columns = _inside(shift_x, sw, width, out_w)
                yield (ys, xs), (rows, columns)


def _unfolded(value: Any) -> Any:
    return value.unfold_rows() if isinstance(value, Patches) else value


def _inside(shift: int, stride: int, size: int, outputs: int) -> tuple[slice, slice]:
    """Inputs y · stride + shift in [0, size), and their outputs y."""
    start = max(0, -(shift // stride))
    stop = max(start, min(outputs, (size - 1 - shift) // stride + 1))
    if stop == start:
        return slice(0, 0), slice(0, 0)
    return slice(start * stride + shift, (stop - 1) * stride + shift + 1, stride), slice(start, stop)
