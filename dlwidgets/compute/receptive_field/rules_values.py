"""What ops read that compute: position by position, over axes, and between matrices."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch import Tensor

from .axis_maps import Everything, Prefix, Relation, Taps, everything
from .graph import Node, Shape, Value
from .links import Gather, Link, Separable, Several, Source
from .regions import full
from .rules import along, axis_of, broadcast, nonzero, rule, shape_of

Found = list[tuple[Any, Link]]


def pointwise(node: Node, number: int) -> Found:
    """Position by position, smaller tensors repeated."""
    out_shape = node.outputs[number].shape
    return [(item, broadcast(out_shape, item.shape)) for item in node.inputs]


@rule(
    *("sum", "mean", "amax", "amin", "max", "min", "prod", "any", "all", "var", "std", "norm", "linalg_vector_norm"),
    *("logsumexp", "argmax", "argmin", "median", "nanmedian", "mode", "kthvalue", "nansum", "nanmean", "aminmax"),
    *("var_mean", "std_mean", "count_nonzero", "_logsumexp", "nanquantile", "quantile", "special_logsumexp"),
)
def reduce(node: Node, number: int) -> Found:
    """One number from whole axes. A second tensor makes max and min work position by position."""
    x = node.args[0]
    if len(node.inputs) > 1 or (len(node.args) > 1 and isinstance(node.args[1], Tensor)):
        return pointwise(node, number)
    in_shape, out_shape = shape_of(x), node.outputs[number].shape
    dims = _dims(node, len(in_shape))
    axes: list[Source] = []
    kept = 0
    for axis in range(len(in_shape)):
        if axis in dims:
            axes.append((None, None))
            kept += len(out_shape) == len(in_shape)
        else:
            axes.append((kept, None))
            kept += 1
    return [(x, Separable(out_shape, in_shape, axes))]


def _dims(node: Node, num_axes: int) -> set[int]:
    """The axes that a reduction runs over."""
    names = [argument.name for argument in node.func._schema.arguments]
    if "dim" not in names:
        return set(range(num_axes))
    dims = node.argument(names.index("dim"), "dim")
    if dims is None or dims == []:
        default = -1 if node.name in ("mode", "kthvalue") and num_axes else None
        return {axis_of(default, num_axes)} if default is not None else set(range(num_axes))
    return {axis_of(dim, num_axes) for dim in ([dims] if isinstance(dims, int) else dims)}


@rule("_softmax", "_log_softmax", "softmax", "log_softmax", "_safe_softmax", "sort", "argsort", "topk", "renorm")
def whole_axis(node: Node, number: int) -> Found:
    """Every position of an axis reads all of it."""
    x = node.args[0]
    names = [argument.name for argument in node.func._schema.arguments]
    in_shape, out_shape = shape_of(x), node.outputs[number].shape
    if not in_shape:
        return pointwise(node, number)
    dim = node.argument(names.index("dim"), "dim")
    axis = axis_of(-1 if dim is None else dim, len(in_shape))
    return [(x, along(in_shape, axis, everything(out_shape[axis], in_shape[axis]), out_shape))]


@rule("cumsum", "cumprod", "cummax", "cummin", "logcumsumexp", "_logcumsumexp")
def cumulate(node: Node, number: int) -> Found:
    """Position u of an axis reads 0 to u."""
    x = node.args[0]
    shape = shape_of(x)
    if not shape:
        return pointwise(node, number)
    axis = axis_of(node.argument(1, "dim"), len(shape))
    return [(x, along(shape, axis, Prefix(shape[axis])))]


@rule("native_layer_norm", "_fused_rms_norm", "rms_norm", "layer_norm")
def layer_norm(node: Node, number: int) -> Found:
    """Normalised over the last axes; the statistics (further outputs) read the same."""
    x = node.args[0]
    shape, out_shape = shape_of(x), node.outputs[number].shape
    start = len(shape) - len(node.args[1])
    if math.prod(shape[start:]) == 1 and node.name == "native_layer_norm" and not number:
        # A number minus its own mean: only the shift is left.
        return _affine(node, number, range(3, 4), -1)
    follows = out_shape == shape
    axes: list[Source] = [
        (axis, everything(out_shape[axis], size) if axis >= start else None)
        if follows or axis < start
        else (None, None)
        for axis, size in enumerate(shape)
    ]
    return [(x, Separable(out_shape, shape, axes)), *_affine(node, number, range(2, 4), -1)]


@rule("native_group_norm")
def group_norm(node: Node, number: int) -> Found:
    """Normalised over groups of channels and all positions, sample by sample."""
    x, num_groups = node.args[0], node.args[6]
    shape, out_shape = shape_of(x), node.outputs[number].shape
    size = shape[1] // num_groups
    if number:
        blocks = Relation(np.repeat(np.eye(num_groups, dtype=np.bool_), size, axis=1))
        rest: list[Source] = [(None, None)] * (len(shape) - 2)
        return [(x, Separable(out_shape, shape, [(0, None), (1, blocks), *rest]))]
    groups = np.kron(np.eye(num_groups, dtype=np.bool_), np.ones((size, size), dtype=np.bool_))
    axes: list[Source] = [(0, None), (1, Relation(groups))]
    axes += [(axis, everything(shape[axis], shape[axis])) for axis in range(2, len(shape))]
    return [(x, Separable(out_shape, shape, axes)), *_affine(node, number, range(1, 3), 1)]


@rule(
    *("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training", "cudnn_batch_norm"),
    *("_batch_norm_with_update", "_batch_norm_no_update", "miopen_batch_norm", "_batch_norm_impl_index"),
)
def batch_norm(node: Node, number: int) -> Found:
    """Position by position with running statistics, else over the batch and all positions of a channel."""
    x = node.args[0]
    shape, out_shape = shape_of(x), node.outputs[number].shape
    axes: list[Source] = [(axis, None) for axis in range(len(shape))]
    if uses_batch_statistics(node):
        axes = [(axis, None if axis == 1 else everything(size, size)) for axis, size in enumerate(shape)]
    if out_shape != shape:
        axes = [(0, None) if axis == 1 and len(out_shape) == 1 else (None, None) for axis in range(len(shape))]
    affine = _affine(node, number, range(1, 5), 1) if out_shape == shape else []
    return [(x, Separable(out_shape, shape, axes)), *affine]


def uses_batch_statistics(node: Node) -> bool:
    """Whether a batch norm normalises by its input."""
    if node.name == "_native_batch_norm_legit_no_training" or node.name == "_batch_norm_no_update":
        return False
    if node.name == "_native_batch_norm_legit" and node.func._overloadname == "no_stats":
        return True
    return bool(node.args[5]) or node.args[3] is None


def _affine(node: Node, number: int, places: range, axis: int) -> Found:
    """Scale and shift computed from the input."""
    out_shape = node.outputs[number].shape
    found: Found = []
    for place in places:
        item = node.args[place] if place < len(node.args) else None
        if isinstance(item, Value) and item.depends:
            follows = [(axis, None)] if axis >= 0 else [(a - len(item.shape), None) for a in range(len(item.shape))]
            axes: list[Source] = [(a % len(out_shape), None) for a, _ in follows]
            found.append((item, Separable(out_shape, item.shape, axes)))
    return found


# Between matrices


@rule(
    "mm",
    "bmm",
    "addmm",
    "baddbmm",
    "addbmm",
    "mv",
    "addmv",
    "dot",
    "vdot",
    "linear",
    "matmul",
    "_sparse_mm",
    "inner",
    "_sparse_addmm",
)
def matrix_product(node: Node, number: int) -> Found:
    """Rows of the first with columns of the second, but for what a certain zero leaves out."""
    args = list(node.args)
    extra = args.pop(0) if node.name in ("addmm", "baddbmm", "addmv", "addbmm", "_sparse_addmm") else None
    first, second = args[:2]
    out_shape = node.outputs[number].shape
    found: Found = []
    if isinstance(extra, Value) and extra.depends:
        found.append((extra, broadcast(out_shape, extra.shape)))
    a, b = shape_of(first), shape_of(second)
    if node.name == "addbmm" or (node.name in ("matmul", "linear", "inner") and (len(a) != 2 or len(b) != 2)):
        from .rules_layout import everywhere

        return everywhere(node, number, node.name)
    if isinstance(first, Value) and first.depends:
        link = _operand(out_shape, a, nonzero(second), len(b), transposed=node.name == "linear", left=True)
        found.append((first, link))
    if isinstance(second, Value) and second.depends:
        link = _operand(out_shape, b, nonzero(first), len(a), transposed=node.name == "linear", left=False)
        found.append((second, link))
    bias = args[2] if node.name == "linear" and len(args) > 2 else None
    if isinstance(bias, Value) and bias.depends:
        found.append((bias, broadcast(out_shape, bias.shape)))
    return found


def _operand(
    out_shape: Shape, shape: Shape, other: Tensor | None, num_other: int, *, transposed: bool, left: bool
) -> Link:
    """What a product reads in one operand; ``other``: where the other operand may differ from zero."""
    batch: list[Source] = [(0, None)] if len(shape) == 3 else []
    shift = len(batch)
    inner_first = not left and not transposed
    own = None if len(shape) - shift == 1 else (shift if left else len(out_shape) - 1)
    across = None if num_other - shift == 1 else (len(out_shape) - 1 if left else shift)

    def link(reads: np.ndarray | None, within: Any = None) -> Link:
        inner: Source = (None, None)
        if reads is not None:
            inner = (None, reads.reshape(1, -1)) if across is None else (across, Relation(reads))
        outer: list[Source] = [] if own is None else [(own, None)]
        axes = [*batch, inner, *outer] if inner_first else [*batch, *outer, inner]
        return Separable(out_shape, shape, axes, within)

    if other is None:
        return link(None)
    # As (batch, position across, inner position).
    table = other.numpy()
    if left and not transposed:
        table = np.swapaxes(table, -1, -2) if num_other - shift == 2 else table
    if not shift:
        return link(table)
    if (table == table[:1]).all():
        return link(table[0])
    links = []
    for index, reads in enumerate(table):
        chosen = np.zeros((1, len(table)), dtype=np.bool_)
        chosen[0, index] = True
        links.append(link(reads, ((None, chosen), *(full(size) for size in out_shape[1:]))))
    return Several(links)


@rule("embedding")
def embedding(node: Node, number: int) -> Found:
    """Each index reads one row of a table."""
    table, index = node.args[:2]
    out_shape = node.outputs[number].shape
    found: Found = []
    if isinstance(index, Value):
        found.append((index, Separable(out_shape, index.shape, [(a, None) for a in range(len(index.shape))])))
    if isinstance(table, Value) and table.depends:
        found.append((table, _rows_of(table, index, out_shape)))
    return found


def _rows_of(table: Value, index: Any, out_shape: Shape) -> Link:
    """The rows of a table that a constant index picks; all if it is computed."""
    features = len(out_shape) - 1
    if isinstance(index, Value):
        return Separable(out_shape, table.shape, [(None, None), (features, None)])
    if index.dim() == 1:
        rows = Taps(index.cpu().numpy()[:, None], table.shape[0])
        return Separable(out_shape, table.shape, [(0, rows), (features, None)])
    size = table.shape[1]
    flat = index.reshape(-1, 1).cpu().numpy() * size + np.arange(size)
    return Gather(out_shape, table.shape, flat.reshape(-1, 1))


@rule("rand_like", "randn_like", "randint_like", "randperm", "multinomial")
def drawn(node: Node, number: int) -> Found:  # noqa: ARG001
    """Random numbers that do not depend on the numbers of any argument."""
    return []


@rule("fill_random")
def drawn_in_place(node: Node, number: int) -> Found:
    """Random numbers by parameters that may be tensors."""
    out_shape = node.outputs[number].shape
    return [(item, broadcast(out_shape, item.shape)) for item in node.args[1:] if isinstance(item, Value)]


@rule("zero", "fill")
def fill(node: Node, number: int) -> Found:
    """A number everywhere; only a computed one is read."""
    value = node.args[1] if len(node.args) > 1 else None
    if not isinstance(value, Value):
        return []
    return [(value, broadcast(node.outputs[number].shape, value.shape))]


@rule("copy")
def copy(node: Node, number: int) -> Found:
    """The old numbers are gone."""
    source = node.args[1]
    return [(source, broadcast(node.outputs[number].shape, shape_of(source)))] if isinstance(source, Value) else []


def whole_axes(link: Link) -> set[int]:
    """The input axes that a link reads as a whole whatever the unit."""
    if isinstance(link, Several):
        return set().union(*(whole_axes(part) for part in link.links))
    sources = link.sources()
    if sources is None:
        return set(range(len(link.in_shape))) if type(link).__name__ == "Whole" else set()
    return {
        axis
        for axis, ((out, how), size) in enumerate(zip(sources, link.in_shape, strict=True))
        if size > 1 and ((out is None and (how is None or isinstance(how, Everything))) or getattr(how, "whole", False))
    }
