"""What ops read that only move numbers: views, slices, padding, joining, indexing."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from .axis_maps import Taps, everything, strided
from .graph import Node, Value
from .links import Gather, Link, Reshape, Same, Separable, Source, Whole
from .regions import full
from .rules import along, axis_of, broadcast, rule, shape_of

Found = list[tuple[Any, Link]]

LARGEST_TABLE = 2**25
"""Beyond this many numbers an op without per-axis structure is not followed one number at a time."""


@rule(
    *("clone", "detach", "alias", "_to_copy", "contiguous", "lift_fresh", "positive", "_conj", "conj", "_neg_view"),
    *("conj_physical", "resolve_conj", "resolve_neg", "lift_fresh_copy", "lift", "_conj_physical", "detach_copy"),
    *("alias_copy", "real", "imag", "view_as_real_copy", "to", "view_dtype"),
)
def same(node: Node, number: int) -> Found:
    """Position by position."""
    x = node.args[0]
    return [(x, broadcast(node.outputs[number].shape, shape_of(x)))]


@rule("view", "_unsafe_view", "reshape", "_reshape_alias", "flatten", "unflatten", "_reshape_copy", "view_copy")
def reshape(node: Node, number: int) -> Found:
    """The same numbers under another shape."""
    x = node.args[0]
    out_shape, in_shape = node.outputs[number].shape, shape_of(x)
    if math.prod(out_shape) != math.prod(in_shape):
        return [(x, Whole(out_shape, in_shape, f"{node.name} as another number type"))]
    return [(x, Same(out_shape, in_shape) if out_shape == in_shape else Reshape(out_shape, in_shape))]


@rule("squeeze", "unsqueeze", "squeeze_copy", "unsqueeze_copy")
def squeeze(node: Node, number: int) -> Found:
    """Axes of length 1 come or go."""
    x = node.args[0]
    in_shape, out_shape = shape_of(x), node.outputs[number].shape
    if node.name.startswith("unsqueeze"):
        added = axis_of(node.argument(1, "dim"), len(out_shape))
        axes: list[Source] = [(a if a < added else a + 1, None) for a in range(len(in_shape))]
        return [(x, Separable(out_shape, in_shape, axes))]
    dims = node.argument(1, "dim", list(range(len(in_shape))))
    dims = [dims] if isinstance(dims, int) else dims
    gone = {axis_of(dim, len(in_shape)) for dim in dims if in_shape and in_shape[axis_of(dim, len(in_shape))] == 1}
    kept = iter(range(len(out_shape)))
    axes = [(None, None) if a in gone else (next(kept), None) for a in range(len(in_shape))]
    return [(x, Separable(out_shape, in_shape, axes))]


@rule("view_as_complex", "view_as_complex_copy")
def view_as_complex(node: Node, number: int) -> Found:
    """A complex number is made of two."""
    x = node.args[0]
    out_shape = node.outputs[number].shape
    return [(x, Separable(out_shape, shape_of(x), [*((a, None) for a in range(len(out_shape))), (None, None)]))]


@rule("view_as_real")
def view_as_real(node: Node, number: int) -> Found:
    """Both parts of a complex number, each counted as reading all of it; but parts just put together stay apart."""
    x = node.args[0]
    if x.node is not None and x.node.name == "view_as_complex":
        return [(x.node.args[0], Same(node.outputs[number].shape, node.outputs[number].shape))]
    return [(x, Separable(node.outputs[number].shape, shape_of(x), [(a, None) for a in range(len(shape_of(x)))]))]


@rule("permute", "transpose", "t", "numpy_T", "swapaxes", "permute_copy", "transpose_copy", "t_copy")
def permute(node: Node, number: int) -> Found:
    """Axes change places."""
    x = node.args[0]
    num_axes = len(shape_of(x))
    order = list(range(num_axes))
    if node.name.startswith("permute"):
        order = [axis_of(axis, num_axes) for axis in node.argument(1, "dims")]
    elif node.name.startswith("transpose"):
        first, second = axis_of(node.args[1], num_axes), axis_of(node.args[2], num_axes)
        order[first], order[second] = second, first
    else:
        order.reverse()
    axes: list[Source] = [(order.index(axis), None) for axis in range(num_axes)]
    return [(x, Separable(node.outputs[number].shape, shape_of(x), axes))]


@rule("expand", "expand_copy", "expand_as", "broadcast_to")
def expand(node: Node, number: int) -> Found:
    """Axes of length 1 repeat."""
    x = node.args[0]
    return [(x, broadcast(node.outputs[number].shape, shape_of(x)))]


@rule("slice", "slice_copy", "narrow")
def slice_axis(node: Node, number: int) -> Found:
    """Every ``step``-th position of an axis."""
    x = node.args[0]
    in_shape, out_shape = shape_of(x), node.outputs[number].shape
    axis = axis_of(node.argument(1, "dim", 0), len(in_shape))
    start = node.argument(2, "start") or 0
    step = node.argument(4, "step", 1) if node.name != "narrow" else 1
    size = in_shape[axis]
    start = min(max(start + size if start < 0 else start, 0), size)
    if out_shape == in_shape:
        return [(x, Same(out_shape, in_shape))]
    return [(x, along(in_shape, axis, strided(out_shape[axis], size, start, step), out_shape))]


@rule("split", "split_with_sizes", "chunk", "unsafe_split", "unsafe_chunk", "unsafe_split_with_sizes", "tensor_split")
def split(node: Node, number: int) -> Found:
    """Pieces of an axis, one after the other."""
    x = node.args[0]
    in_shape, out_shape = shape_of(x), node.outputs[number].shape
    axis = axis_of(node.argument(2, "dim", 0), len(in_shape))
    start = sum(output.shape[axis] for output in node.outputs[:number])
    return [(x, along(in_shape, axis, strided(out_shape[axis], in_shape[axis], start, 1), out_shape))]


@rule("select", "unbind", "select_copy", "unbind_copy")
def select(node: Node, number: int) -> Found:
    """One position of an axis, which disappears."""
    x = node.args[0]
    in_shape = shape_of(x)
    axis = axis_of(node.argument(1, "dim", 0), len(in_shape))
    index = number if node.name.startswith("unbind") else axis_of(node.argument(2, "index"), in_shape[axis])
    chosen = np.zeros((1, in_shape[axis]), dtype=np.bool_)
    chosen[0, index] = True
    axes: list[Source] = [(a if a < axis else a - 1, None) for a in range(len(in_shape))]
    axes[axis] = None, chosen
    return [(x, Separable(node.outputs[number].shape, in_shape, axes))]


@rule("cat", "concat", "concatenate", "stack")
def concatenate(node: Node, number: int) -> Found:
    """Tensors side by side along an axis."""
    out_shape = node.outputs[number].shape
    axis = axis_of(node.argument(1, "dim", 0), len(out_shape))
    found: Found = []
    start = 0
    for item in node.args[0]:
        shape = shape_of(item)
        if node.name == "stack":
            chosen = np.zeros((1, out_shape[axis]), dtype=np.bool_)
            chosen[0, start] = True
            within = tuple((None, chosen) if a == axis else full(size) for a, size in enumerate(out_shape))
            axes: list[Source] = [(a if a < axis else a + 1, None) for a in range(len(shape))]
            found.append((item, Separable(out_shape, shape, axes, within)))
            start += 1
        elif len(shape) == len(out_shape):
            found.append((item, along(shape, axis, strided(out_shape[axis], shape[axis], -start, 1), out_shape)))
            start += shape[axis]
    return found


@rule("constant_pad_nd", "pad")
def constant_pad(node: Node, number: int) -> Found:
    """Numbers around the edges, or a crop where the padding is negative."""
    x, pads = node.args[0], node.args[1]
    out_shape, in_shape = node.outputs[number].shape, shape_of(x)
    axes: list[Source] = []
    for axis, size in enumerate(in_shape):
        place = 2 * (len(in_shape) - 1 - axis)
        before, after = (pads[place], pads[place + 1]) if place < len(pads) else (0, 0)
        axes.append((axis, strided(out_shape[axis], size, -before, 1) if before or after else None))
    return [(x, Separable(out_shape, in_shape, axes))]


@rule(*(f"{mode}_pad{n}d" for mode in ("reflection", "replication") for n in (1, 2, 3)))
def mirror_pad(node: Node, number: int) -> Found:
    """Padding that repeats real positions."""
    x, pads = node.args[0], node.args[1]
    out_shape, in_shape = node.outputs[number].shape, shape_of(x)
    axes: list[Source] = []
    for axis, size in enumerate(in_shape):
        place = 2 * (len(in_shape) - 1 - axis)
        before = pads[place] if place < len(pads) else 0
        position = np.arange(out_shape[axis]) - before
        if node.name.startswith("reflection"):
            period = max(2 * (size - 1), 1)
            position = np.abs(position) % period
            position = np.minimum(position, period - position) if size > 1 else position * 0
        position = np.clip(position, 0, size - 1)
        affine = strided(out_shape[axis], size, -before, 1).affine
        axes.append((axis, Taps(position[:, None], size, affine)))
    return [(x, Separable(out_shape, in_shape, axes))]


@rule("flip", "roll")
def rearrange(node: Node, number: int) -> Found:
    """Positions of an axis in another order."""
    x = node.args[0]
    shape = shape_of(x)
    axes: list[Source] = [(axis, None) for axis in range(len(shape))]
    dims = node.argument(1, "dims", []) if node.name == "flip" else node.argument(2, "dims", [])
    dims = [dims] if isinstance(dims, int) else dims or []
    if node.name == "roll" and not dims:
        return copied(node, number)
    shifts = [0] * len(dims) if node.name == "flip" else node.argument(1, "shifts")
    shifts = [shifts] if isinstance(shifts, int) else shifts
    for dim, shift in zip(dims, shifts, strict=True):
        axis = axis_of(dim, len(shape))
        order = np.arange(shape[axis])
        before = axes[axis][1]
        if isinstance(before, Taps):
            order = before.table[:, 0]
        order = order[::-1] if node.name == "flip" else np.roll(order, shift)
        axes[axis] = axis, Taps(order[:, None], shape[axis])
    return [(x, Separable(shape, shape, axes))]


@rule("unfold", "unfold_copy")
def unfold(node: Node, number: int) -> Found:
    """Sliding windows of an axis, whose positions become a new last axis."""
    x, dim, size, step = node.args[:4]
    in_shape, out_shape = shape_of(x), node.outputs[number].shape
    if not in_shape:
        return copied(node, number)
    axis = axis_of(dim, len(in_shape))
    found: Found = []
    for tap in range(size):
        chosen = np.zeros((1, size), dtype=np.bool_)
        chosen[0, tap] = True
        within = (*(full(n) for n in out_shape[:-1]), (None, chosen))
        axes: list[Source] = [(a, None) for a in range(len(in_shape))]
        axes[axis] = axis, strided(out_shape[axis], in_shape[axis], tap, step)
        found.append((x, Separable(out_shape, in_shape, axes, within)))
    return found


@rule("index_select")
def index_select(node: Node, number: int) -> Found:
    """Chosen positions of an axis; all of them if the choice is computed."""
    x, dim, index = node.args[:3]
    in_shape, out_shape = shape_of(x), node.outputs[number].shape
    if not in_shape:
        return [(x, Whole(out_shape, in_shape))]
    axis = axis_of(dim, len(in_shape))
    if isinstance(index, Value):
        links: Found = [(x, along(in_shape, axis, everything(out_shape[axis], in_shape[axis]), out_shape))]
        return [*links, (index, Separable(out_shape, shape_of(index), [(axis, None)]))]
    how = Taps(index.reshape(-1, 1).cpu().numpy(), in_shape[axis])
    return [(x, along(in_shape, axis, how, out_shape))]


@rule("repeat", "tile")
def repeat(node: Node, number: int) -> Found:
    """Copies side by side along each axis."""
    x = node.args[0]
    in_shape, out_shape = shape_of(x), node.outputs[number].shape
    offset = len(out_shape) - len(in_shape)
    axes: list[Source] = []
    for axis, size in enumerate(in_shape):
        out = out_shape[axis + offset]
        axes.append((axis + offset, None if out == size else Taps((np.arange(out) % max(size, 1))[:, None], size)))
    return [(x, Separable(out_shape, in_shape, axes))]


@rule(
    *("as_strided", "diagonal", "diag", "diag_embed", "tril", "triu", "im2col", "take", "rot90", "diagonal_copy"),
    *("pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "as_strided_copy", "block_diag", "trace_copy"),
)
def copied(node: Node, number: int) -> Found:
    """Any op that only copies numbers: it is run on their indices."""
    x = node.args[0]
    out_shape, in_shape = node.outputs[number].shape, shape_of(x)
    others = [item for item in node.inputs if item is not x]
    size = math.prod(in_shape)
    if others or max(size, math.prod(out_shape)) > LARGEST_TABLE:
        return everywhere(node, number, node.name)
    index = torch.arange(1, size + 1, dtype=torch.float64).reshape(in_shape)
    func = node.func or getattr(torch.ops.aten, node.name).default
    result = func(index, *node.args[1:], **node.kwargs)
    result = result[number] if isinstance(result, (list, tuple)) else result
    return [(x, from_table(out_shape, in_shape, result.long().numpy() - 1))]


def from_table(out_shape: tuple[int, ...], in_shape: tuple[int, ...], table: np.ndarray) -> Link:
    """The link of a table of flat input indices (-1: none), per axis if it has that structure."""
    flat = table.reshape(out_shape)
    axes: list[Source] = []
    used: set[int] = set()
    if flat.ndim and in_shape and flat.size and (flat >= 0).all():
        for size, coordinate in zip(in_shape, np.unravel_index(flat, in_shape), strict=True):
            changing = [a for a in range(len(out_shape)) if (np.diff(coordinate, axis=a) != 0).any()]
            if len(changing) > 1 or used & set(changing):
                break
            used |= set(changing)
            if changing:
                first = tuple(slice(None) if a == changing[0] else 0 for a in range(len(out_shape)))
                axes.append((changing[0], Taps(coordinate[first][:, None], size)))
            else:
                chosen = np.zeros((1, size), dtype=np.bool_)
                chosen[0, coordinate.reshape(-1)[0]] = True
                axes.append((None, chosen))
        else:
            return Separable(out_shape, in_shape, axes)
    return Gather(out_shape, in_shape, table.reshape(-1, 1))


def everywhere(node: Node, number: int, bound: str = "") -> Found:
    """Every output reads every number of every input: a superset of anything."""
    out_shape = node.outputs[number].shape
    return [(item, Whole(out_shape, item.shape, bound)) for item in node.inputs]
