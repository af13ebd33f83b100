"""Reading and writing through views: where a strided view of some memory lies in the tensor that the memory holds."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np

from .axis_maps import Taps, strided
from .graph import Node, Shape
from .links import Elsewhere, Gather, Link, Masked, Same, Separable, Source, Whole
from .regions import Term, full, only
from .rules import rule, shape_of
from .rules_layout import LARGEST_TABLE, from_table

Found = list[tuple[Any, Link]]
Place = tuple[int | None, int, int]
"""One axis of a view: the axis of the base that it runs along (None: it has length 1), its start and its step."""


def places(
    base: Shape, base_strides: Shape, shape: Shape, strides: Shape, offset: int
) -> tuple[list[Place], dict[int, int]] | None:
    """How a view runs along the axes of its base, and where it stands on the others; None if not axis by axis."""
    order = sorted((axis for axis in range(len(base)) if base[axis] > 1), key=lambda axis: -base_strides[axis])
    start: dict[int, int] = dict.fromkeys(range(len(base)), 0)
    rest = offset
    for axis in order:
        start[axis] = rest // base_strides[axis]
        rest -= start[axis] * base_strides[axis]
        if start[axis] >= base[axis]:
            return None
    if rest:
        return None
    found: list[Place] = []
    used: set[int] = set()
    for size, stride in zip(shape, strides, strict=True):
        if size == 1:
            found.append((None, 0, 0))
            continue
        for axis in order:
            step, remainder = divmod(stride, base_strides[axis]) if base_strides[axis] else (0, 1)
            if not remainder and step > 0 and axis not in used and start[axis] + step * (size - 1) < base[axis]:
                found.append((axis, start[axis], step))
                used.add(axis)
                break
        else:
            return None
    return found, {axis: at for axis, at in start.items() if axis not in used}


def flat_places(base: Shape, base_strides: Shape, shape: Shape, strides: Shape, offset: int) -> np.ndarray | None:
    """The row-major index in the base of every number of a view; -1 where the base has none."""
    if max(math.prod(base), math.prod(shape)) > LARGEST_TABLE:
        return None
    memory = _reach(base, base_strides, 0)
    wanted = _reach(shape, strides, offset)
    index = np.full(max(memory.max(initial=0), wanted.max(initial=0)) + 1, -1, dtype=np.int64)
    index[memory.reshape(-1)] = np.arange(memory.size)
    return index[wanted]


def _reach(shape: Shape, strides: Shape, offset: int) -> np.ndarray:
    """The place in memory of every number of a strided tensor."""
    places = np.full((1,) * len(shape), offset, dtype=np.int64)
    for axis, (size, stride) in enumerate(zip(shape, strides, strict=True)):
        places = places + (np.arange(size) * stride).reshape([-1 if a == axis else 1 for a in range(len(shape))])
    return places


@rule("read_memory")
def read(node: Node, number: int) -> Found:
    """A view looks at memory that was written to since."""
    base, base_strides, shape, strides, offset = node.args
    layout = shape_of(base), base_strides, shape, strides, offset
    if base.dtype != node.outputs[number].dtype:
        return [(base, Whole(shape, base.shape, "a view as another number type"))]
    found = places(*layout)
    if found is None:
        table = flat_places(*layout)
        if table is None:
            return [(base, Whole(shape, base.shape, "a view that does not follow the axes"))]
        return [(base, from_table(shape, base.shape, table))]
    axes: list[Source] = [(None, None)] * len(base.shape)
    for out, (axis, start, step) in enumerate(found[0]):
        if axis is not None:
            axes[axis] = out, strided(shape[out], base.shape[axis], start, step)
    for axis, at in found[1].items():
        axes[axis] = None, only(base.shape[axis], at)[1]
    return [(base, Separable(shape, base.shape, axes))]


@rule("write_memory")
def write(node: Node, number: int) -> Found:
    """New numbers where a view looks, the old ones elsewhere."""
    old, new, base_strides, shape, strides, offset = node.args
    out_shape = node.outputs[number].shape
    layout = out_shape, base_strides, shape, strides, offset
    if shape_of(new) != tuple(shape) or (hasattr(new, "dtype") and new.dtype != node.outputs[number].dtype):
        reason = "a write into a view as another number type"
        return [(item, Whole(out_shape, item.shape, reason)) for item in node.inputs]
    found = places(*layout)
    if found is not None:
        return _write_along_axes(old, new, out_shape, shape, *found)
    table = flat_places(*layout)
    if table is None:
        reason = "a write into a view that does not follow the axes"
        return [(item, Whole(out_shape, item.shape, reason)) for item in node.inputs]
    source = np.full(math.prod(out_shape), -1, dtype=np.int64)
    # A later number of the view wins where two share a place.
    source[table.reshape(-1)] = np.arange(table.size)
    kept = (source < 0).reshape(out_shape)
    return [(old, Masked(kept)), (new, Gather(out_shape, shape, source[:, None]))]


def _write_along_axes(
    old: Any, new: Any, out_shape: Shape, shape: Shape, axes_of_view: list[Place], fixed: dict[int, int]
) -> Found:
    written: list[Any] = [full(size) for size in out_shape]
    axes: list[Source] = [(None, None)] * len(shape)
    for view_axis, (axis, start, step) in enumerate(axes_of_view):
        if axis is None:
            continue
        rows = np.zeros((1, out_shape[axis]), dtype=np.bool_)
        rows[0, start : start + step * shape[view_axis] : step] = True
        written[axis] = None, rows
        # Where the base stands at start + step * u the view stands at u.
        position = np.arange(out_shape[axis]) - start
        inside = (position % step == 0) & (position >= 0) & (position < step * shape[view_axis])
        axes[view_axis] = axis, _table(np.where(inside, position // step, -1), shape[view_axis], start, step)
    for axis, at in fixed.items():
        written[axis] = only(out_shape[axis], at)
    region: Term = tuple(written)
    if math.prod(shape) == 0:
        return [(old, Same(out_shape, out_shape))]
    return [(old, Elsewhere(out_shape, region)), (new, Separable(out_shape, shape, axes, region))]


def _table(table: np.ndarray, size: int, start: int, step: int) -> Any:

    affine = Fraction(1, step), Fraction(-start, step), Fraction(-start, step)
    return Taps(table[:, None], size, affine)
