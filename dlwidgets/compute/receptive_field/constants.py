"""Numbers that no free weight and no input can change, inside tensors that otherwise depend on them.

A mask times a weight is certainly zero where the mask is; scores filled with -inf are certainly -inf there, and their
softmax certainly zero. Each op's rule here says what is certain about its result; no rule: nothing is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .graph import Known, Node, Value

CertainRule = Callable[[Node, Value], Known | None]
CERTAIN: dict[str, CertainRule] = {}

MOVES = {
    *(
        "clone",
        "detach",
        "alias",
        "_to_copy",
        "view",
        "_unsafe_view",
        "reshape",
        "_reshape_alias",
        "squeeze",
        "unsqueeze",
    ),
    *("permute", "transpose", "t", "expand", "slice", "split", "split_with_sizes", "unbind", "select", "flip", "roll"),
    *("repeat", "unfold", "index_select", "diagonal", "gather", "index", "take", "unsafe_split", "unsafe_chunk"),
    *("unsafe_split_with_sizes", "narrow", "view_as_real", "view_as_complex", "real", "imag", "_conj", "_neg_view"),
    *(
        "reflection_pad1d",
        "reflection_pad2d",
        "reflection_pad3d",
        "replication_pad1d",
        "replication_pad2d",
        "lift_fresh",
    ),
    *(
        "replication_pad3d",
        "as_strided",
        "diag",
        "im2col",
        "rot90",
        "pixel_shuffle",
        "channel_shuffle",
        "chunk",
        "positive",
    ),
}
"""Ops that copy numbers of their first argument and add none."""

JOINS = {"cat", "stack", "where", "constant_pad_nd", "tril", "triu", "diag_embed", "masked_fill", "copy"}
"""Ops that copy numbers of several arguments, or add certain ones."""


def certain(*names: str) -> Callable[[CertainRule], CertainRule]:
    """Enter a function as the rule of these ops."""

    def enter(function: CertainRule) -> CertainRule:
        for name in names:
            CERTAIN[name] = function
        return function

    return enter


def known_of(node: Node, value: Value) -> Known | None:
    """What is certain about a result, None if nothing is."""
    rule = CERTAIN.get(node.name)
    if rule is None and all(item.known is None for item in node.inputs) and node.name not in JOINS:
        return None
    if rule is None:
        rule = _copies if node.name in MOVES or node.name in JOINS else _pointwise if node.pointwise else None
    if rule is None:
        return None
    try:
        found = rule(node, value)
    except (RuntimeError, NotImplementedError, TypeError, IndexError, ValueError):
        # Certainty is a refinement: without it the answer is a larger one.
        return None
    if found is None or not found.mask.any():
        return None
    return Known(found.mask.expand(value.shape), found.values.expand(value.shape))


def numbers(item: Any) -> Any:
    """An argument with certain numbers, and 1 where they are not certain."""
    if isinstance(item, Value):
        if item.known is None:
            return torch.ones(item.shape, dtype=item.dtype)
        return torch.where(item.known.mask, item.known.values, torch.ones((), dtype=item.known.values.dtype))
    return [numbers(part) for part in item] if isinstance(item, (list, tuple)) else item


def certainty(item: Any) -> Any:
    """Where an argument is certain, with the shape of the argument."""
    if isinstance(item, Value):
        return torch.zeros(item.shape, dtype=torch.bool) if item.known is None else item.known.mask
    if isinstance(item, Tensor):
        return torch.ones(item.shape, dtype=torch.bool)
    return [certainty(part) for part in item] if isinstance(item, (list, tuple)) else item


def zero_at(item: Any) -> Tensor | None:
    """Where an argument is certainly zero; None if nowhere."""
    if isinstance(item, Value):
        found = item.known.where(0) if item.known is not None else None
    elif isinstance(item, Tensor):
        found = item == 0
    else:
        found = torch.tensor(item == 0)
    return found if found is not None and found.any() else None


def _picked(result: Any, value: Value) -> Any:
    return result[value.number] if isinstance(result, (list, tuple)) else result


def _copies(node: Node, value: Value) -> Known | None:
    """Run the op on the numbers, and again on what is certain about them."""
    if all(isinstance(item, Value) and item.known is None for item in node.inputs) and node.name in ("cat", "stack"):
        parts = node.args[0]
        if all(isinstance(part, Value) for part in parts):
            return None
    if node.name == "constant_pad_nd" and max(node.args[1], default=0) <= 0 and node.inputs[0].known is None:
        return None
    values = _picked(node.func(*map(numbers, node.args), **node.kwargs), value)
    if node.name in ("gather", "index", "take", "index_select"):
        if (
            any(isinstance(item, Value) for item in node.inputs[1:])
            or len(node.inputs) != 1
            or node.inputs[0] is not node.args[0]
        ):
            return None
        return Known(_picked(node.func(certainty(node.args[0]), *node.args[1:], **node.kwargs), value), values)
    if node.name in ("where", "masked_fill", "copy"):
        return _chosen(node, values)
    if node.name == "constant_pad_nd":
        return Known(node.func(certainty(node.args[0]), node.args[1], 1), values)
    if node.name in ("tril", "triu", "diag_embed"):
        hidden = node.func(~certainty(node.args[0]), *node.args[1:], **node.kwargs)
        return Known(~hidden, values)
    if node.name in ("_to_copy", "clone", "lift_fresh"):
        return Known(certainty(node.args[0]), values)
    if node.name in ("view_as_complex", "view_as_real", "real", "imag", "_conj"):
        return _complex_parts(node, values)
    if node.name in ("im2col",) or "_pad" in node.name:
        # Not made for bools.
        mask = node.func(certainty(node.args[0]).double(), *node.args[1:], **node.kwargs) == 1
        return Known(mask, values)
    first = certainty(node.args[0])
    return Known(_picked(node.func(first, *node.args[1:], **node.kwargs), value), values)


def _complex_parts(node: Node, values: Tensor) -> Known:
    mask = certainty(node.args[0])
    if node.name == "view_as_complex":
        mask = mask.all(-1)
    elif node.name == "view_as_real":
        mask = mask[..., None].expand(values.shape)
    return Known(mask, values)


def _chosen(node: Node, values: Tensor) -> Known | None:
    """One of two numbers, by a condition that may be certain itself."""
    if node.name == "copy":
        return Known(certainty(node.args[1]), values)
    if node.name == "where":
        condition, first, second = node.args
    else:
        second, condition, first = node.args
    picked = numbers(condition)
    mask = torch.where(picked.bool(), _mask(first), _mask(second)) & _mask(condition)
    # Whatever the condition, two equal certain numbers.
    equal = _mask(first) & _mask(second) & (numbers(first) == numbers(second))
    return Known(mask | equal, values)


def _mask(item: Any) -> Tensor:
    return certainty(item) if isinstance(item, (Value, Tensor)) else torch.ones((), dtype=torch.bool)


def _pointwise(node: Node, value: Value) -> Known | None:
    """Certain where every argument is."""
    values = node.func(*map(numbers, node.args), **{key: numbers(item) for key, item in node.kwargs.items()})
    values = _picked(values, value)
    mask = torch.ones((), dtype=torch.bool)
    for item in node.inputs:
        mask = mask & certainty(item)
    return Known(mask, values)


def _or(first: Known | None, mask: Tensor | None, number: float, dtype: torch.dtype) -> Known | None:
    """What is certain, and ``number`` where ``mask``."""
    if mask is None:
        return first
    fixed = torch.full((), number, dtype=dtype)
    if first is None:
        return Known(mask, fixed.expand(mask.shape))
    return Known(first.mask | mask, torch.where(mask, fixed, first.values))


@certain("mul", "multiply", "__mul__")
def _product(node: Node, value: Value) -> Known | None:
    """Zero times anything finite is zero."""
    zeros = [zero for item in node.args[:2] if (zero := zero_at(item)) is not None]
    both = _pointwise(node, value) if any(item.known is not None for item in node.inputs) else None
    if not zeros:
        return both
    mask = torch.zeros((), dtype=torch.bool)
    for zero in zeros:
        mask = mask | zero
    mask = mask.expand(value.shape)
    known = None if both is None else Known(both.mask.expand(value.shape), both.values.expand(value.shape))
    return _or(known, mask, 0, value.dtype)


@certain("div", "divide", "true_divide", "floor_divide", "fmod", "remainder")
def _quotient(node: Node, value: Value) -> Known | None:
    """Zero divided by a free number is zero."""
    known = _pointwise(node, value) if all(item.known is not None for item in node.inputs) else None
    zero = zero_at(node.args[0])
    if zero is None or not isinstance(node.args[1], Value):
        return known
    free = ~certainty(node.args[1])
    return _or(known, (zero & free).expand(value.shape), 0, value.dtype)


@certain("add", "sub", "rsub")
def _sum(node: Node, value: Value) -> Known | None:
    """An infinity swallows anything finite."""
    first, second = node.args[:2]
    known = _pointwise(node, value) if all(item.known is not None for item in node.inputs) else None
    if infinite_at(first) is None and infinite_at(second) is None:
        return known
    infinite = torch.zeros(value.shape, dtype=torch.bool)
    values = torch.zeros(value.shape, dtype=value.dtype)
    for item, other in ((first, second), (second, first)):
        certain_infinity = infinite_at(item)
        if certain_infinity is not None and isinstance(other, Value):
            here = certain_infinity & ~certainty(other)
            infinite = infinite | here
            sign = -1 if (node.name == "sub" and item is second) or (node.name == "rsub" and item is first) else 1
            values = torch.where(here, numbers(item) * sign, values)
    if known is None:
        return Known(infinite, values)
    return Known(known.mask | infinite, torch.where(infinite, values, known.values))


def infinite_at(item: Any) -> Tensor | None:
    """Where an argument is certainly an infinity; None if nowhere."""
    if isinstance(item, (int, float)):
        item = torch.tensor(item)
    if isinstance(item, Value) and item.known is None:
        return None
    found = certainty(item) & torch.isinf(numbers(item)) if isinstance(item, (Value, Tensor)) else None
    return found if found is not None and found.any() else None


@certain("zero", "fill")
def _filled(node: Node, value: Value) -> Known | None:
    """One certain number everywhere."""
    number = node.args[1] if len(node.args) > 1 else 0
    if isinstance(number, Value):
        return None
    everywhere = torch.ones(value.shape, dtype=torch.bool)
    return Known(everywhere, torch.as_tensor(number, dtype=value.dtype).expand(value.shape))


@certain("pow", "clamp", "hardtanh")
def _special(node: Node, value: Value) -> Known | None:
    """Ops that are certain for some settings whatever their input."""
    everywhere = torch.ones(value.shape, dtype=torch.bool)
    if node.name == "pow" and node.args[1] == 0 and not isinstance(node.args[1], Tensor):
        return Known(everywhere, torch.ones((), dtype=value.dtype).expand(value.shape))
    low, high = node.argument(1, "min"), node.argument(2, "max")
    if (
        node.name in ("clamp", "hardtanh")
        and isinstance(low, (int, float))
        and isinstance(high, (int, float))
        and low >= high
    ):
        return Known(everywhere, torch.full((), high, dtype=value.dtype).expand(value.shape))
    return _pointwise(node, value) if node.pointwise and all(item.known is not None for item in node.inputs) else None


@certain("logical_or")
def _either(node: Node, value: Value) -> Known | None:
    """True or anything is True."""
    both = _pointwise(node, value) if all(item.known is not None for item in node.inputs) else None
    mask = None
    for item in node.args[:2]:
        if isinstance(item, Tensor) or (isinstance(item, Value) and item.known is not None):
            sure = (certainty(item) & numbers(item).bool()).expand(value.shape)
            mask = sure if mask is None else mask | sure
    return _or(both, mask, 1, value.dtype)


@certain("logical_and", "bitwise_and", "__and__")
def _and(node: Node, value: Value) -> Known | None:
    """False and anything is False."""
    zeros = [zero for item in node.args[:2] if (zero := zero_at(item)) is not None]
    both = _pointwise(node, value) if all(item.known is not None for item in node.inputs) else None
    mask = None
    for zero in zeros:
        mask = zero.expand(value.shape) if mask is None else mask | zero
    return _or(both, mask, 0, value.dtype)


@certain("view_as_real")
def _parts(node: Node, value: Value) -> Known | None:
    """What was certain of two parts before they were put together still is."""
    x = node.args[0]
    if x.node is not None and x.node.name == "view_as_complex":
        known: Known | None = x.node.args[0].known
        return known
    return None if x.known is None else _copies(node, value)
