"""What ops read that mix several axes: Fourier transforms, distances, products of three, gradients of layers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from .axis_maps import AxisMap, Relation, Taps, everything
from .graph import Node, Value
from .links import Link, Masked, Separable, Source
from .rules import axis_of, broadcast, known, rule, shape_of
from .rules_values import pointwise
from .rules_windows import convolution

Found = list[tuple[Any, Link]]


@rule("_fft_r2c", "_fft_c2r", "_fft_c2c")
def fourier(node: Node, number: int) -> Found:
    """Every frequency reads the whole of the transformed axes."""
    x, dims = node.args[:2]
    in_shape, out_shape = shape_of(x), node.outputs[number].shape
    whole = {axis_of(dim, len(in_shape)) for dim in dims}
    axes: list[Source] = [
        (a, everything(out_shape[a], size) if a in whole else None) for a, size in enumerate(in_shape)
    ]
    return [(x, Separable(out_shape, in_shape, axes))]


@rule("_cdist_forward", "_euclidean_dist")
def distances(node: Node, number: int) -> Found:
    """Rows of the first against rows of the second."""
    out_shape = node.outputs[number].shape
    found: Found = []
    for place, item in enumerate(node.args[:2]):
        if isinstance(item, Value):
            shape = item.shape
            offset = len(out_shape) - len(shape)
            axes: list[Source] = [
                (a + offset, None) if size == out_shape[a + offset] else (None, None)
                for a, size in enumerate(shape[:-2])
            ]
            own = len(out_shape) - 2 + place
            found.append((item, Separable(out_shape, shape, [*axes, (own, None), (None, None)])))
    return found


@rule("_trilinear")
def trilinear(node: Node, number: int) -> Found:
    """A sum over some axes of the product of three tensors, each repeated along its own list of axes."""
    first, second, third, *expands, summed = node.args[:7]
    out_shape = node.outputs[number].shape
    found: Found = []
    total = len(shape_of(first)) + len(expands[0])
    kept = [axis for axis in range(total) if axis not in summed]
    for item, expand in zip((first, second, third), expands, strict=True):
        if isinstance(item, Value):
            own = [axis for axis in range(total) if axis not in expand]
            axes: list[Source] = []
            for axis, size in zip(own, item.shape, strict=True):
                follows = axis in kept and out_shape[kept.index(axis)] == size
                axes.append((kept.index(axis), None) if follows else (None, None))
            found.append((item, Separable(out_shape, item.shape, axes)))
    return found


@rule("glu")
def gated(node: Node, number: int) -> Found:
    """The first half of an axis times a function of the second."""
    x = node.args[0]
    in_shape, out_shape = shape_of(x), node.outputs[number].shape
    axis = axis_of(node.argument(1, "dim", -1), len(in_shape))
    half = out_shape[axis]
    table = np.stack([np.arange(half), np.arange(half) + half], axis=1)
    axes: list[Source] = [(a, Taps(table, size) if a == axis else None) for a, size in enumerate(in_shape)]
    return [(x, Separable(out_shape, in_shape, axes))]


@rule("cross", "linalg_cross")
def cross(node: Node, number: int) -> Found:
    """Each coordinate of a cross product reads the two others."""
    out_shape = node.outputs[number].shape
    axis = axis_of(node.kwargs.get("dim", node.args[2] if len(node.args) > 2 else -1) or -1, len(out_shape))
    others = Relation(~np.eye(3, dtype=np.bool_))
    found: Found = []
    for item in node.inputs:
        offset = len(out_shape) - len(item.shape)
        axes: list[Source] = [
            (a + offset, others if a + offset == axis else None) if size == out_shape[a + offset] else (None, None)
            for a, size in enumerate(item.shape)
        ]
        found.append((item, Separable(out_shape, item.shape, axes)))
    return found


@rule("where")
def where(node: Node, number: int) -> Found:
    """One of two numbers; a certain condition says which."""
    condition, first, second = node.args
    out_shape = node.outputs[number].shape
    found = pointwise_of(out_shape, [condition])
    certain = known(condition)
    for item, value in ((first, False), (second, True)):
        if isinstance(item, Value):
            link = broadcast(out_shape, item.shape)
            if certain is not None:
                # Read wherever the condition is not certainly the other way.
                other = certain.mask & (certain.values.bool() == value)
                link = Masked((~other).expand(out_shape).numpy(), link)
            found.append((item, link))
    return found


@rule("masked_fill")
def masked_fill(node: Node, number: int) -> Found:
    """A number where a mask is True."""
    x, mask, value = node.args
    out_shape = node.outputs[number].shape
    found = pointwise_of(out_shape, [mask])
    certain = known(mask)
    for item, hidden in ((x, True), (value, False)):
        if isinstance(item, Value):
            link = broadcast(out_shape, item.shape)
            if certain is not None:
                other = certain.mask & (certain.values.bool() == hidden)
                link = Masked((~other).expand(out_shape).numpy(), link)
            found.append((item, link))
    return found


def pointwise_of(out_shape: tuple[int, ...], items: list[Any]) -> Found:
    """Position by position in those of ``items`` that are values."""
    return [(item, broadcast(out_shape, item.shape)) for item in items if isinstance(item, Value)]


@rule("add", "sub", "rsub")
def add(node: Node, number: int) -> Found:
    """A sum; with factor 0 the second is not read."""
    if node.kwargs.get("alpha", 1) == 0:
        unread = node.args[0] if node.name == "rsub" else node.args[1]
        return [pair for pair in pointwise(node, number) if pair[0] is not unread]
    return pointwise(node, number)


@rule("addcmul", "addcdiv")
def addcmul(node: Node, number: int) -> Found:
    """A number plus a factor times a product."""
    found = pointwise(node, number)
    return [pair for pair in found if pair[0] is node.args[0]] if node.kwargs.get("value", 1) == 0 else found


@rule("lerp")
def lerp(node: Node, number: int) -> Found:
    """Between two numbers; weight 0 and 1 read one of them."""
    found = pointwise(node, number)
    weight = node.args[2]
    if isinstance(weight, Value):
        return found
    weight = torch.as_tensor(weight)
    out_shape = node.outputs[number].shape
    kept: Found = []
    for item, link in found:
        unread = weight == (1 if item is node.args[0] else 0)
        if item in (node.args[0], node.args[1]) and unread.any():
            link = Masked((~unread).expand(out_shape).numpy(), link)
        kept.append((item, link))
    return kept


@rule("convolution_backward")
def convolution_backward(node: Node, number: int) -> Found:
    """The gradient of a convolution: for its input the same relation the other way round."""
    out_gradient, x, weight = node.args[:3]
    out_shape = node.outputs[number].shape
    if number or node.args[7] or not isinstance(out_gradient, Value):
        from .rules_layout import everywhere

        return everywhere(node, number, node.name)
    forward = Node("convolution", None, (shaped(out_shape), weight, None, *node.args[4:10]), {})
    forward.outputs = [shaped(out_gradient.shape)]
    found: Found = []
    for _, link in convolution(forward, 0):
        sources = link.sources()
        if sources is None:
            from .rules_layout import everywhere

            return everywhere(node, number, node.name)
        axes: list[Source] = [(a, None if how is None else reversed_map(how)) for a, (_, how) in enumerate(sources)]
        found.append((out_gradient, Separable(out_shape, out_gradient.shape, axes)))
    del x
    return found


def shaped(shape: tuple[int, ...]) -> Value:
    """A value of which only the shape matters."""
    return Value(shape, torch.float32, None, 0, 0)


def reversed_map(how: Any) -> AxisMap:
    """The same relation along an axis, from the other side."""
    assert isinstance(how, AxisMap)
    return Relation(how.back(np.eye(how.num_out, dtype=np.bool_)).T)
