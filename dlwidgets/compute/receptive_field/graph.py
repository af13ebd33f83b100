"""The record of one run: values, and the ops that made them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Known:
    """What is certain about the numbers of a tensor: where ``mask`` is True they are ``values``."""

    mask: Tensor
    values: Tensor

    def where(self, values: float) -> Tensor:
        """Where the tensor certainly is this number."""
        return self.mask & (self.values == values)


POINTWISE = {
    *("complex", "polar", "_prelu_kernel", "prelu", "hardswish", "floor_divide", "rrelu_with_noise", "native_dropout"),
    *("where", "masked_fill", "bernoulli", "normal", "__and__", "__or__", "__xor__", "__lshift__", "__rshift__"),
    *("_fused_dropout", "poisson", "_fake_quantize_per_tensor_affine_cachemask_tensor_qparams", "log_sigmoid_forward"),
    *("fake_quantize_per_tensor_affine_cachemask", "hardsigmoid", "hardtanh", "logical_and", "logical_or", "isin"),
    *("logical_xor", "logical_not", "special_xlog1py", "xlogy", "_nan_to_num", "rsub", "angle", "_to_copy", "sgn"),
}
"""Ops that work position by position and are not all tagged so."""


class Value:
    """One tensor of the run at one moment.

    ``node`` made it, as its output number ``number``; None for what entered from outside. ``depends``: whether the
    first input can reach it. ``known``: numbers that no free weight or input can change, None if there are none.
    ``time`` is the number of ops before it.
    """

    __slots__ = ("depends", "dtype", "geometry", "known", "node", "number", "shape", "time")

    def __init__(self, shape: Shape, dtype: torch.dtype, node: Node | None, number: int, time: int) -> None:
        self.shape, self.dtype, self.node, self.number, self.time = shape, dtype, node, number, time
        self.depends: bool = node is not None and node.depends
        self.known: Known | None = None
        self.geometry: Any = None


class Node:
    """One op: its name without namespace and overload, its arguments with `Value` in the place of free tensors."""

    __slots__ = ("args", "depends", "func", "inputs", "kwargs", "links", "name", "outputs", "pointwise")

    def __init__(self, name: str, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.name, self.func, self.args, self.kwargs = name, func, args, kwargs
        self.pointwise = func is not None and (torch.Tag.pointwise in func.tags or name in POINTWISE)
        self.inputs = [item for item in leaves((args, kwargs)) if isinstance(item, Value)]
        self.depends: bool = any(item.depends for item in self.inputs)
        self.outputs: list[Value] = []
        self.links: dict[int, Any] = {}

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """An argument by its position or name."""
        if position < len(self.args):
            return self.args[position]
        return self.kwargs.get(name, default)


def leaves(item: Any) -> list[Any]:
    """Everything inside nested tuples, lists and dicts."""
    if isinstance(item, (tuple, list)):
        return [leaf for part in item for leaf in leaves(part)]
    if isinstance(item, dict):
        return [leaf for part in item.values() for leaf in leaves(part)]
    return [item]


@dataclass(eq=False)
class Call:
    """One call of a module: its output's first tensor, and whether no other module was called inside."""

    name: str
    call: int
    kind: str
    value: Value
    innermost: bool


@dataclass(eq=False)
class Run:
    """A whole recorded run. ``broken``: the op that let numbers out of the graph, and at what time; after it,
    nothing is known but the shapes."""

    input: Value
    input_shape: Shape
    output: Value
    nodes: list[Node]
    calls: list[Call] = field(default_factory=list)
    broken: tuple[int, str] | None = None
