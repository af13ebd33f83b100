"""The table of rules: what each op reads, by the op's name.

A rule is a function ``(node, number) -> [(value, link), ...]``: what output ``number`` of the node reads in each of its
inputs that the first input can reach. Modules named ``rules_*`` fill the table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .graph import Known, Node, Shape, Value
from .links import Link, Same, Separable, Source

Rule = Callable[[Node, int], list[tuple[Any, Link]]]

RULES: dict[str, Rule] = {}


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Enter a function as the rule of these ops."""

    def enter(function: Rule) -> Rule:
        for name in names:
            RULES[name] = function
        return function

    return enter


def shape_of(item: Any) -> Shape:
    """The shape of a value, a constant, or a number."""
    return tuple(item.shape) if isinstance(item, (Value, Tensor)) else ()


def known(item: Any) -> Known | None:
    """What is certain about an argument: all of a constant."""
    if isinstance(item, Value):
        return item.known
    if isinstance(item, Tensor):
        dense = item.to_dense() if item.layout != torch.strided else item
        return Known(torch.ones(dense.shape, dtype=torch.bool), dense.detach().cpu())
    return None


def nonzero(item: Any) -> Tensor | None:
    """Where an argument may differ from zero; None if anywhere."""
    certain = known(item)
    if certain is None:
        return None
    zero = certain.where(0)
    return None if not zero.any() else ~zero


def broadcast(out_shape: Shape, in_shape: Shape) -> Link:
    """An input that is broadcast to the output's shape."""
    if out_shape == in_shape:
        return Same(out_shape, in_shape)
    offset = len(out_shape) - len(in_shape)
    axes: list[Source] = [
        (axis + offset, None) if size == out_shape[axis + offset] else (None, None)
        for axis, size in enumerate(in_shape)
    ]
    return Separable(out_shape, in_shape, axes)


def axis_of(axis: int, num_axes: int) -> int:
    """An axis counted from the start."""
    return axis % num_axes if num_axes else 0


def along(shape: Shape, axis: int, how: Any, out_shape: Shape | None = None) -> Link:
    """A link that does something along one axis and nothing along the others."""
    axes: list[Source] = [(a, how if a == axis else None) for a in range(len(shape))]
    return Separable(out_shape or shape, shape, axes)
