"""What is certain about the results of ops that mix positions: windows, sums, products of matrices, writes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .constants import certain, certainty, infinite_at, numbers, zero_at
from .graph import Known, Node, Value, leaves


@certain(
    *("avg_pool1d", "avg_pool2d", "avg_pool3d", "_adaptive_avg_pool2d", "_adaptive_avg_pool3d", "adaptive_avg_pool1d"),
    *("upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d", "_upsample_nearest_exact1d", "sum", "mean"),
    *("_upsample_nearest_exact2d", "_upsample_nearest_exact3d", "upsample_linear1d", "upsample_bilinear2d", "cumsum"),
    *("upsample_trilinear3d", "amax", "amin", "max_pool2d_with_indices", "max_pool3d_with_indices", "max_pool1d"),
)
def _window(node: Node, value: Value) -> Known | None:
    """Certain where everything that is read is: the op itself finds those places, as it has no negative weights."""
    if value.number or all(item.known is None for item in node.inputs):
        return None
    unsure = (~certainty(node.args[0])).double()
    if node.name == "amin":
        unsure = unsure.amax(*node.args[1:], **node.kwargs)
    else:
        unsure = node.func(unsure, *node.args[1:], **node.kwargs)
    values = node.func(numbers(node.args[0]), *node.args[1:], **node.kwargs)
    first, values = (item[0] if isinstance(item, tuple) else item for item in (unsure, values))
    return Known(first == 0, values)


@certain("convolution")
def _convolution(node: Node, value: Value) -> Known | None:
    """Without a bias, zero where the window holds zeros alone; with a constant kernel, certain where its window is."""
    x, weight, bias = node.args[:3]
    if not isinstance(x, Value) or x.known is None:
        return None
    support = torch.ones(weight.shape, dtype=torch.float64)
    if (zero := zero_at(weight)) is not None:
        support = (~zero).double()
    if isinstance(weight, Tensor) and not isinstance(bias, Value):
        unsure = node.func((~certainty(x)).double(), support, None, *node.args[3:])
        return Known(unsure == 0, node.func(numbers(x), weight, bias, *node.args[3:]))
    empty = zero_at(x)
    if bias is not None or empty is None:
        return None
    reached = node.func((~empty).double(), support, None, *node.args[3:])
    return Known(reached == 0, torch.zeros((), dtype=value.dtype).expand(value.shape))


@certain("_softmax", "_safe_softmax", "softmax")
def _softmax(node: Node, value: Value) -> Known | None:
    """Zero where the score is certainly -inf and not all of them are."""
    x, dim = node.args[:2]
    if not value.shape or value.shape[dim] == 1:
        return Known(torch.ones(value.shape, dtype=torch.bool), torch.ones((), dtype=value.dtype).expand(value.shape))
    if not isinstance(x, Value) or x.known is None:
        return None
    low = x.known.where(-math.inf)
    num_left = (~low).sum(dim, keepdim=True)
    if node.name != "_safe_softmax":
        low = low & (num_left > 0)
    # The only one left is 1, whatever its score.
    alone = ~low & (num_left == 1)
    return Known(low | alone, alone.to(value.dtype))


@certain("mm", "bmm", "addmm", "baddbmm", "linear", "mv")
def _matrix(node: Node, value: Value) -> Known | None:
    """Zero where every product has a zero; a certain infinity that is added stays."""
    args = list(node.args)
    extra = args.pop(0) if node.name in ("addmm", "baddbmm") else None
    known = None
    if isinstance(extra, (Value, Tensor)) and infinite_at(extra) is not None and node.kwargs.get("beta", 1) == 1:
        known = Known(infinite_at(extra).expand(value.shape), numbers(extra).expand(value.shape))  # type: ignore[union-attr]
    first, second = args[:2]
    zeros = [zero_at(item) for item in (first, second)]
    if all(zero is None for zero in zeros) or (node.name == "linear" and len(args) > 2 and args[2] is not None):
        return known
    left, right = (
        torch.ones(item.shape) if zero is None else (~zero).float()
        for item, zero in zip((first, second), zeros, strict=True)
    )
    empty = (left @ (right.mT if node.name == "linear" else right)) == 0
    if extra is None:
        return Known(empty, torch.zeros((), dtype=value.dtype).expand(value.shape))
    return known


@certain("argmax", "argmin", "argsort")
def _position(node: Node, value: Value) -> Known | None:
    """The position on an axis of length 1 is 0."""
    x, dim = node.args[0], node.args[1] if len(node.args) > 1 else None
    length = math.prod(x.shape) if dim is None else x.shape[dim] if x.shape else 1
    if length != 1:
        return None
    return Known(torch.ones(value.shape, dtype=torch.bool), torch.zeros((), dtype=value.dtype).expand(value.shape))


@certain("bernoulli", "native_dropout")
def _drawn(node: Node, value: Value) -> Known | None:
    """A draw with probability 0 or 1 is certain."""
    probability = node.args[1] if len(node.args) > 1 else None
    if node.name == "bernoulli" and isinstance(probability, (int, float)) and probability in (0, 1):
        everywhere = torch.ones(value.shape, dtype=torch.bool)
        return Known(everywhere, torch.full((), float(probability)).to(value.dtype).expand(value.shape))
    return None


@certain("write_memory")
def _written(node: Node, value: Value) -> Known | None:
    """What was certain before and elsewhere, and what is certain about the new numbers."""
    old, new, strides, shape, view_strides, offset = node.args
    if certainty(old).any() or certainty(new).any():
        mask = torch.empty_strided(value.shape, strides, dtype=torch.bool).copy_(certainty(old))
        values = torch.empty_strided(value.shape, strides, dtype=value.dtype).copy_(numbers(old))
        mask.as_strided(shape, view_strides, offset).copy_(certainty(new))
        values.as_strided(shape, view_strides, offset).copy_(numbers(new))
        return Known(mask, values)
    return None


@certain("read_memory")
def _read(node: Node, value: Value) -> Known | None:
    """A view of what is certain."""
    base, strides, shape, view_strides, offset = node.args
    mask = torch.empty_strided(base.shape, strides, dtype=torch.bool).copy_(certainty(base))
    values = torch.empty_strided(base.shape, strides, dtype=value.dtype).copy_(numbers(base))
    return Known(mask.as_strided(shape, view_strides, offset), values.as_strided(shape, view_strides, offset))


@certain("scatter", "index_put", "slice_scatter", "select_scatter", "index_copy", "index_add", "scatter_add", "diag")
def _put(node: Node, value: Value) -> Known | None:  # noqa: ARG001
    """The op itself moves what is certain, where it only puts numbers at constant places."""
    places = [item for item in leaves(node.args[1:]) if isinstance(item, Value) and not item.dtype.is_floating_point]
    if places or "reduce" in node.func._overloadname:
        return None
    values = node.func(*map(numbers, node.args), **node.kwargs)

    def unsure(item: Any) -> Any:
        if isinstance(item, Tensor) and not item.dtype.is_floating_point and item.dtype != torch.bool:
            return item
        if isinstance(item, (Value, Tensor)):
            return (~certainty(item)).to(values.dtype)
        return [unsure(part) for part in item] if isinstance(item, (list, tuple)) else item

    source = [0 if isinstance(item, float) and node.name == "scatter" else unsure(item) for item in node.args]
    return Known(node.func(*source, **node.kwargs) == 0, values)


@certain("block_diag")
def _block_diag(node: Node, value: Value) -> Known | None:  # noqa: ARG001
    """Zero between the blocks."""
    hidden = node.func([~part for part in certainty(node.args[0])])
    return Known(~hidden, node.func(numbers(node.args[0])))


@certain("_cdist_forward", "_euclidean_dist")
def _distance(node: Node, value: Value) -> Known | None:
    """The distance of a row to itself is zero."""
    if node.args[0] is not node.args[1]:
        return None
    same = torch.eye(value.shape[-1], dtype=torch.bool).expand(value.shape)
    return Known(same, torch.zeros((), dtype=value.dtype).expand(value.shape))
