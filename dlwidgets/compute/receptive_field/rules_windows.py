"""What convolutions, pooling and interpolation read."""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .axis_maps import AxisMap, Blocks, Relation, Taps, everything, transposed_window, window
from .graph import Node, Value
from .links import Link, Separable, Several, Source, split_rows
from .rules import nonzero, rule, shape_of


def numbers(item: Any, num_axes: int) -> list[int]:
    """One integer per axis."""
    if isinstance(item, int):
        return [item] * num_axes
    return list(item) * num_axes if len(item) == 1 else list(item)


@rule("convolution", "_convolution", "convolution_overrideable", "mkldnn_convolution")
def convolution(node: Node, number: int) -> list[tuple[Any, Link]]:
    """Convolution and transposed convolution, with holes where the kernel is certainly zero."""
    x, weight, bias, stride, padding, dilation, transposed, _, groups = (*node.args, *(None,) * 9)[:9]
    if node.name == "mkldnn_convolution":
        padding, stride, dilation, groups, transposed = node.args[3], *node.args[4:7], False
    out_shape, x_shape, w_shape = node.outputs[number].shape, shape_of(x), shape_of(weight)
    num_axes = len(w_shape) - 2
    stride, padding, dilation = (numbers(item, num_axes) for item in (stride, padding, dilation))
    make = transposed_window if transposed else window
    found: list[tuple[Any, Link]] = []
    if isinstance(x, Value):
        channels_out, channels_in = out_shape[1], x_shape[1]
        blocks: AxisMap = everything(channels_out, channels_in)
        if groups > 1:
            blocks = Blocks(groups, channels_out // groups, channels_in // groups)
        links: list[Link] = []
        for channels, taps in kernel_patterns(nonzero(weight), groups, bool(transposed), blocks, num_axes):
            axes: list[Source] = [(0, None), (1, channels)]
            for a in range(num_axes):
                sizes = out_shape[a + 2], x_shape[a + 2], w_shape[a + 2]
                axes.append((a + 2, make(*sizes, stride[a], padding[a], dilation[a], taps[a])))
            links.append(Separable(out_shape, x_shape, axes))
        if links:
            found.append((x, links[0] if len(links) == 1 else Several(links)))
    if isinstance(weight, Value) and weight.depends:
        axes = [(None, None), (None, None)]
        axes[1 if transposed else 0] = (1, None) if groups == 1 or not transposed else (None, None)
        for a in range(num_axes):
            sizes = out_shape[a + 2], x_shape[a + 2], w_shape[a + 2]
            axes.append((a + 2, taps_that_meet(*sizes, stride[a], padding[a], dilation[a], bool(transposed))))
        found.append((weight, Separable(out_shape, w_shape, axes)))
    if isinstance(bias, Value) and bias.depends:
        found.append((bias, Separable(out_shape, shape_of(bias), [(1, None)])))
    return found


def taps_that_meet(
    out: int, size: int, taps: int, stride: int, padding: int, dilation: int, transposed: bool
) -> AxisMap:
    """Which taps of a kernel an output position uses: those that fall inside the input."""
    make = transposed_window if transposed else window
    columns = [make(out, size, taps, stride, padding, dilation, (tap,)) for tap in range(taps)]
    return Relation(np.stack([column.table[:, 0] < size for column in columns if isinstance(column, Taps)], axis=1))


def kernel_patterns(
    support: Tensor | None, groups: int, transposed: bool, blocks: AxisMap, num_axes: int
) -> list[tuple[AxisMap, list[tuple[int, ...] | None]]]:
    """A kernel's nonzero taps as products: (which channels read which, taps per axis)."""
    if support is None:
        return [(blocks, [None] * num_axes)]
    patterns, which = np.unique(support.flatten(2).flatten(0, 1).numpy(), axis=0, return_inverse=True)
    first, second = support.shape[:2]
    which = which.reshape(first, second)
    found: list[tuple[AxisMap, list[tuple[int, ...] | None]]] = []
    for index, pattern in enumerate(patterns):
        if not pattern.any():
            continue
        channels: AxisMap = blocks
        if not (which == index).all():
            channels = Relation(_grouped(which == index, groups, transposed))
        for product in split_rows(pattern[None], list(support.shape[2:])):
            taps = [tuple(int(tap) for tap in np.flatnonzero(rows[0])) for rows in product]
            found.append((channels, list(taps)))
    return found


def _grouped(reads: np.ndarray, groups: int, transposed: bool) -> np.ndarray:
    """(output channel, input channel) from a kernel's first two axes."""
    size_first, size_second = len(reads) // groups, reads.shape[1]
    wide = np.zeros((len(reads), groups * size_second), dtype=np.bool_)
    for group in range(groups):
        rows = slice(group * size_first, (group + 1) * size_first)
        wide[rows, group * size_second : (group + 1) * size_second] = reads[rows]
    return wide.T if transposed else wide


def last_axes(node: Node, number: int, maps: list[AxisMap]) -> list[tuple[Any, Link]]:
    """A link that follows the first axes position by position and the last ones by ``maps``."""
    x = node.args[0]
    out_shape, in_shape = node.outputs[number].shape, shape_of(x)
    start = len(in_shape) - len(maps)
    axes: list[Source] = [(a, maps[a - start] if a >= start else None) for a in range(len(in_shape))]
    return [(x, Separable(out_shape, in_shape, axes))]


@rule(
    *("max_pool1d", "max_pool2d", "max_pool3d", "max_pool2d_with_indices", "max_pool3d_with_indices"),
    *("max_pool1d_with_indices", "mkldnn_max_pool2d", "mkldnn_max_pool3d", "quantized_max_pool2d"),
)
def max_pool(node: Node, number: int) -> list[tuple[Any, Link]]:
    """Maximum over a window."""
    num_axes = int(node.name.split("pool")[1][0])
    size = numbers(node.argument(1, "kernel_size"), num_axes)
    stride = numbers(node.argument(2, "stride") or size, num_axes)
    padding = numbers(node.argument(3, "padding", 0), num_axes)
    dilation = numbers(node.argument(4, "dilation", 1), num_axes)
    return _pool(node, number, size, stride, padding, dilation)


@rule("avg_pool1d", "avg_pool2d", "avg_pool3d")
def avg_pool(node: Node, number: int) -> list[tuple[Any, Link]]:
    """Mean over a window."""
    num_axes = int(node.name[len("avg_pool")])
    size = numbers(node.argument(1, "kernel_size"), num_axes)
    stride = numbers(node.argument(2, "stride") or size, num_axes)
    return _pool(node, number, size, stride, numbers(node.argument(3, "padding", 0), num_axes), [1] * num_axes)


def _pool(
    node: Node, number: int, size: list[int], stride: list[int], padding: list[int], dilation: list[int]
) -> list[tuple[Any, Link]]:
    num_axes = len(size)
    outs, ins = node.outputs[number].shape[-num_axes:], shape_of(node.args[0])[-num_axes:]
    maps = [window(outs[a], ins[a], size[a], stride[a], padding[a], dilation[a]) for a in range(num_axes)]
    return last_axes(node, number, maps)


@rule(
    *("_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_avg_pool1d", "adaptive_max_pool1d"),
    *("adaptive_max_pool2d", "adaptive_max_pool3d", "mkldnn_adaptive_avg_pool2d", "adaptive_avg_pool2d"),
)
def adaptive_pool(node: Node, number: int) -> list[tuple[Any, Link]]:
    """Windows that divide the axis into a given number of parts, overlapping where they must."""
    num_axes = int(node.name[-2])
    outs, ins = node.outputs[number].shape[-num_axes:], shape_of(node.args[0])[-num_axes:]
    return last_axes(node, number, [adaptive_window(out, size) for out, size in zip(outs, ins, strict=True)])


@lru_cache(maxsize=256)
def adaptive_window(num_out: int, num_in: int) -> AxisMap:
    """Part u reads from floor(u * in / out) up to ceil((u + 1) * in / out)."""
    if num_out <= 1:
        return everything(num_out, num_in)
    unit = np.arange(num_out)
    start, stop = unit * num_in // num_out, -(-(unit + 1) * num_in // num_out)
    taps = start[:, None] + np.arange(int((stop - start).max()))
    affine = None
    if num_in % num_out == 0:
        affine = Fraction(num_in // num_out), Fraction(0), Fraction(num_in // num_out - 1)
    return Taps(np.where(taps < stop[:, None], taps, -1), num_in, affine)


@rule(
    *("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "_upsample_nearest_exact1d"),
    *("_upsample_nearest_exact2d", "_upsample_nearest_exact3d", "upsample_linear1d", "upsample_bilinear2d"),
    *("upsample_trilinear3d", "upsample_bicubic2d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa"),
    "_upsample_lanczos2d_aa",
)
def upsample(node: Node, number: int) -> list[tuple[Any, Link]]:
    """Interpolation: the op itself says which weights are zero, one axis at a time."""
    num_axes = len(shape_of(node.args[0])) - 2
    outs, ins = node.outputs[number].shape[2:], shape_of(node.args[0])[2:]
    corners = "nearest" not in node.name and bool(node.args[2])
    first = 2 if "nearest" in node.name else 3
    scales = [*node.args[first:], *(None,) * num_axes][:num_axes]
    dtype = node.outputs[number].dtype
    dtype = dtype if dtype in (torch.float32, torch.float64) else torch.float32
    overload = node.func if node.func._overloadname == "default" else node.func.overloadpacket.default
    maps = [
        interpolation(overload, num_axes, a, outs[a], ins[a], corners, scales[a], "nearest" in node.name, dtype)
        for a in range(num_axes)
    ]
    return last_axes(node, number, maps)


@lru_cache(maxsize=256)
def interpolation(
    func: Any,
    num_axes: int,
    axis: int,
    num_out: int,
    num_in: int,
    corners: bool,
    scale: float | None,
    nearest: bool,
    dtype: torch.dtype,
) -> AxisMap:
    """Which positions carry weight along one axis, found by interpolating each position's indicator."""
    # The other axes have two positions: torch's antialiased kernels go wrong where they have one.
    along = [num_in if a == axis else 1 for a in range(num_axes)]
    indicator = torch.eye(num_in, dtype=dtype).reshape(1, num_in, *along)
    indicator = indicator.expand(1, num_in, *(num_in if a == axis else 2 for a in range(num_axes))).contiguous()
    sizes = [num_out if a == axis else 2 for a in range(num_axes)]
    scales = [scale if a == axis else None for a in range(num_axes)]
    result = func(indicator, sizes, *([] if nearest else [corners]), *scales)
    first = tuple(slice(None) if a == axis else 0 for a in range(num_axes))
    weights = result[(0, slice(None), *first)].T.numpy()
    reads = weights != 0
    most = max(int(reads.sum(axis=1).max()), 1)
    order = np.argsort(~reads, axis=1, kind="stable")[:, :most]
    table = np.where(np.take_along_axis(reads, order, axis=1), order, -1)
    return Taps(table, num_in, _interpolation_affine(reads, num_out, num_in, corners))


def _interpolation_affine(reads: np.ndarray, num_out: int, num_in: int, corners: bool) -> Any:
    """Centre and width of the windows as if the axis went on for ever."""
    if corners:
        if num_out < 2:
            return None
        step, centre = Fraction(num_in - 1, num_out - 1), Fraction(0)
    else:
        step = Fraction(num_in, num_out)
        centre = (step - 1) / 2
    half = Fraction(int(reads.sum(axis=1).max()) - 1, 2)
    return step, centre - half, centre + half
