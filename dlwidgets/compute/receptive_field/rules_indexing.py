"""What indexing reads and writes: gather, scatter, index, sampling at a grid.

An index that is constant says exactly which numbers are read; a computed one may point anywhere along its axis.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .axis_maps import AxisMap, Relation, Taps, everything, strided
from .graph import Node, Shape, Value
from .links import Gather, Link, Masked, Same, Separable, Several, Source
from .regions import from_mask
from .rules import RULES, along, axis_of, broadcast, rule, shape_of
from .rules_layout import LARGEST_TABLE, copied, everywhere, from_table

Found = list[tuple[Any, Link]]


def flat_index(shape: Shape) -> Tensor:
    """The row-major index of every number of a tensor."""
    return torch.arange(math.prod(shape)).reshape(shape)


def too_large(*shapes: Shape) -> bool:
    """Whether a table over these tensors is out of the question."""
    return max(map(math.prod, shapes)) > LARGEST_TABLE


def grouped(targets: Tensor, sources: Tensor, num_targets: int) -> np.ndarray:
    """A table of all ``sources`` per target: (targets, most sources of one), -1 where there are fewer."""
    where, which = targets.reshape(-1).numpy(), sources.reshape(-1).numpy()
    order = np.argsort(where, kind="stable")
    where, which = where[order], which[order]
    counts = np.bincount(where, minlength=num_targets)
    table = np.full((num_targets, max(int(counts.max(initial=0)), 1)), -1, dtype=np.int64)
    table[where, np.arange(len(where)) - np.repeat(np.cumsum(counts) - counts, counts)] = which
    return table


def last_wins(targets: Tensor, sources: Tensor, num_targets: int) -> np.ndarray:
    """A table of the last source per target, -1 where there is none."""
    table = np.full(num_targets, -1, dtype=np.int64)
    table[targets.reshape(-1).numpy()] = sources.reshape(-1).numpy()
    return table


@rule("index", "_unsafe_index", "index_backward")
def index(node: Node, number: int) -> Found:
    """Indexing with tensors, one per axis or None."""
    x, indices = node.args[:2]
    out_shape, in_shape = node.outputs[number].shape, shape_of(x)
    if not any(isinstance(item, Value) for item in indices):
        chosen = [axis for axis, item in enumerate(indices) if item is not None]
        if len(chosen) == 1 and indices[chosen[0]].dim() == 1:
            picked = indices[chosen[0]]
            picked = picked.nonzero()[:, 0] if picked.dtype == torch.bool else picked
            axis = chosen[0]
            table = (picked % max(in_shape[axis], 1)).cpu().numpy()[:, None]
            return [(x, along(in_shape, axis, Taps(table, in_shape[axis]), out_shape))]
        return copied(node, number)
    if any(isinstance(item, (Value, Tensor)) and item.dtype in (torch.bool, torch.uint8) for item in indices):
        return everywhere(node, number, node.name)
    chosen = [axis for axis, item in enumerate(indices) if item is not None]
    block = np.broadcast_shapes(*(shape_of(indices[axis]) for axis in chosen))
    together = chosen == list(range(chosen[0], chosen[-1] + 1))
    place = chosen[0] if together else 0
    rest = [axis for axis in range(len(in_shape)) if axis not in chosen]
    axes: list[Source] = [(None, None)] * len(in_shape)
    for count, axis in enumerate(rest):
        axes[axis] = (count if count < place else count + len(block)), None
    found: Found = [(x, Separable(out_shape, in_shape, axes))]
    for axis in chosen:
        item = indices[axis]
        if isinstance(item, Value):
            offset = place + len(block) - len(item.shape)
            sources: list[Source] = [
                (a + offset, None) if size == out_shape[a + offset] else (None, None)
                for a, size in enumerate(item.shape)
            ]
            found.append((item, Separable(out_shape, item.shape, sources)))
    return found


@rule("gather", "take_along_dim")
def gather(node: Node, number: int) -> Found:
    """One number per position of the index, along one axis."""
    x, dim, picked = node.args[:3]
    out_shape, in_shape = node.outputs[number].shape, shape_of(x)
    if not isinstance(picked, Value):
        return copied(node, number)
    axis = axis_of(dim, len(in_shape))
    axes: list[Source] = [
        (
            a,
            everything(out_shape[a], size)
            if a == axis
            else None
            if size == out_shape[a]
            else strided(out_shape[a], size, 0, 1),
        )
        for a, size in enumerate(in_shape)
    ]
    return [(x, Separable(out_shape, in_shape, axes)), (picked, Same(out_shape, out_shape))]


@rule("take", "index_fill", "_index_put_impl", "segment_reduce")
def bounded(node: Node, number: int) -> Found:
    """Rare ops: exact for a constant index, else a superset."""
    others = [item for item in node.inputs if item is not node.args[0]]
    return copied(node, number) if node.name == "take" and not others else everywhere(node, number, node.name)


@rule("scatter", "scatter_add", "scatter_reduce")
def scatter(node: Node, number: int) -> Found:
    """Numbers of a source put or added at positions given by an index, along one axis."""
    old, dim, picked, source = (*node.args, *node.kwargs.values())[:4]
    adds = node.name != "scatter" or "reduce" in node.func._overloadname
    return _scattered(node, number, old, axis_of(dim, len(shape_of(old))), picked, source, adds)


@rule("index_add", "index_copy", "index_reduce")
def index_add(node: Node, number: int) -> Found:
    """Slices of a source put or added at positions of one axis."""
    old, dim, picked, source = node.args[:4]
    axis = axis_of(dim, len(shape_of(old)))
    if not shape_of(old):
        return everywhere(node, number, node.name)
    if not isinstance(picked, Value):
        picked = picked.reshape([-1 if a == axis else 1 for a in range(len(shape_of(old)))]).expand(shape_of(source))
    elif picked.depends:
        return everywhere(node, number, node.name)
    return _scattered(node, number, old, axis, picked, source, node.name != "index_copy")


def _scattered(node: Node, number: int, old: Any, axis: int, picked: Any, source: Any, adds: bool) -> Found:
    out_shape = node.outputs[number].shape
    source_shape = shape_of(source) or out_shape
    if isinstance(picked, Value):
        axes: list[Source] = []
        for a, size in enumerate(source_shape):
            axes.append((a, everything(out_shape[a], size) if a == axis else strided(out_shape[a], size, 0, 1)))
        links: Found = [(old, Same(out_shape, out_shape)), (source, Separable(out_shape, source_shape, axes))]
        if picked.shape == source_shape:
            links.append((picked, Separable(out_shape, source_shape, axes)))
        return links
    if too_large(out_shape, source_shape):
        return everywhere(node, number, node.name)
    picked = picked.cpu()
    targets = flat_index(out_shape).gather(axis, picked) if picked.dim() else flat_index(out_shape)
    window = tuple(slice(0, size) for size in picked.shape)
    sources = flat_index(source_shape)[window]
    found = _put(old, source, out_shape, source_shape, targets, sources, adds)
    if adds and node.kwargs.get("include_self", True) is False:
        table = last_wins(targets, sources, math.prod(out_shape))
        return [(old, Masked((table < 0).reshape(out_shape))), *found[1:]]
    return found


def _put(
    old: Any, source: Any, out_shape: Shape, source_shape: Shape, targets: Tensor, sources: Tensor, adds: bool
) -> Found:
    """Links of a write of ``sources`` of one tensor at ``targets`` of another."""
    total = math.prod(out_shape)
    if adds:
        return [
            (old, Same(out_shape, out_shape)),
            (source, Gather(out_shape, source_shape, grouped(targets, sources, total))),
        ]
    table = last_wins(targets, sources, total)
    kept = Masked((table < 0).reshape(out_shape), broadcast(out_shape, shape_of(old)))
    return [(old, kept), (source, from_table(out_shape, source_shape, table))]


@rule("index_put", "_unsafe_index_put")
def index_put(node: Node, number: int) -> Found:
    """Numbers put or added where an index points."""
    old, indices, source = node.args[:3]
    out_shape, adds = node.outputs[number].shape, bool(node.argument(3, "accumulate", False))
    if any(isinstance(item, Value) for item in indices) or too_large(out_shape):
        found = [pair for pair in everywhere(node, number, node.name) if pair[0] is not old]
        return [*found, (old, Same(out_shape, out_shape))]
    targets = flat_index(out_shape)[tuple(slice(None) if item is None else item.cpu() for item in indices)]
    sources = flat_index(shape_of(source)).expand(targets.shape)
    return _put(old, source, out_shape, shape_of(source), targets, sources, adds)


@rule("masked_scatter")
def masked_scatter(node: Node, number: int) -> Found:
    """The first numbers of a source put where a mask is True, in order."""
    old, mask, source = node.args[:3]
    out_shape = node.outputs[number].shape
    if isinstance(mask, Value) or too_large(out_shape):
        return everywhere(node, number, node.name)
    where = mask.cpu().expand(out_shape).reshape(-1)
    targets = torch.arange(where.numel())[where]
    return _put(old, source, out_shape, shape_of(source), targets, torch.arange(len(targets)), False)


@rule("select_scatter", "slice_scatter", "diagonal_scatter", "as_strided_scatter")
def view_scatter(node: Node, number: int) -> Found:
    """A copy of a tensor with a view of it replaced."""
    old, source = node.args[:2]
    out_shape = node.outputs[number].shape
    if too_large(out_shape):
        return everywhere(node, number, node.name)
    blank = torch.full(out_shape, -1, dtype=torch.int64)
    table = node.func(blank, flat_index(shape_of(source)), *node.args[2:], **node.kwargs).reshape(-1).numpy()
    return [(old, Masked((table < 0).reshape(out_shape))), (source, from_table(out_shape, shape_of(source), table))]


@rule("max_unpool2d", "max_unpool3d")
def max_unpool(node: Node, number: int) -> Found:
    """Numbers put back where their index points: anywhere in their plane."""
    x, indices = node.args[:2]
    out_shape = node.outputs[number].shape
    found: Found = []
    start = len(out_shape) - int(node.name[-2])
    windows = _windows_of(indices, out_shape, start) if isinstance(indices, Value) else None
    for item in (x, indices):
        shape = shape_of(item)
        axes: list[Source] = [
            (a, None if a < start else everything(out_shape[a], size) if windows is None else windows[a - start])
            for a, size in enumerate(shape)
        ]
        found.append((item, Separable(out_shape, shape, axes)))
    return found


def _windows_of(indices: Value, out_shape: Shape, start: int) -> list[AxisMap] | None:
    """If the indices come from a max pooling of a tensor of this size: they stay within its windows."""
    pool = indices.node
    if pool is None or not pool.name.startswith("max_pool") or shape_of(pool.args[0])[start:] != out_shape[start:]:
        return None
    (_, link), *_ = RULES[pool.name](pool, 0)
    sources = link.sources()
    if sources is None:
        return None
    maps = [how for _, how in sources[start:]]
    return [Relation(how.back(np.eye(how.num_out, dtype=np.bool_)).T) for how in maps if isinstance(how, AxisMap)]


@rule("col2im")
def fold(node: Node, number: int) -> Found:
    """Windows added back into an image: whatever `unfold` would read there."""
    x = node.args[0]
    out_shape, in_shape = node.outputs[number].shape, shape_of(x)
    if too_large(out_shape, in_shape):
        return everywhere(node, number, node.name)
    kernel, dilation, padding, stride = node.args[2:6]
    image = torch.arange(1, math.prod(out_shape) + 1, dtype=torch.float64).reshape(out_shape)
    columns = torch.nn.functional.unfold(image, kernel, dilation, padding, stride).long().reshape(-1)
    inside = columns > 0
    sources = torch.arange(math.prod(in_shape))
    table = grouped(columns[inside] - 1, sources[inside], math.prod(out_shape))
    return [(x, Gather(out_shape, in_shape, table))]


@rule("_embedding_bag", "_embedding_bag_forward_only")
def embedding_bag(node: Node, number: int) -> Found:
    """One sum of table rows per bag of indices."""
    table, indices, offsets = node.args[:3]
    out_shape = node.outputs[number].shape
    if number or isinstance(offsets, Value) or not isinstance(indices, Value):
        return everywhere(node, number, "" if number else node.name)
    bag = np.searchsorted(offsets.cpu().numpy()[: out_shape[0]], np.arange(indices.shape[0]), side="right") - 1
    reads = bag[None, :] == np.arange(out_shape[0])[:, None]
    found: Found = [(indices, Separable(out_shape, indices.shape, [(0, Relation(reads))]))]
    weights = node.args[6] if len(node.args) > 6 else None
    if isinstance(weights, Value):
        found.append((weights, Separable(out_shape, weights.shape, [(0, Relation(reads))])))
    if isinstance(table, Value) and table.depends:
        found.append((table, Separable(out_shape, table.shape, [(None, None), (1, None)])))
    return found


@rule("grid_sampler_2d", "grid_sampler_3d", "_grid_sampler_2d_cpu_fallback")
def grid_sample(node: Node, number: int) -> Found:
    """Sampling at a grid: exact taps where the grid is constant, the whole plane where it is computed."""
    x, grid = node.args[:2]
    out_shape, in_shape = node.outputs[number].shape, shape_of(x)
    planes: list[Source] = [(0, None), (1, None), *((None, None) for _ in in_shape[2:])]
    if isinstance(grid, Value):
        axes: list[Source] = [(0, None), *((a + 1, None) for a in range(1, len(out_shape) - 1)), (None, None)]
        return [(x, Separable(out_shape, in_shape, planes)), (grid, Separable(out_shape, grid.shape, axes))]
    size = math.prod(in_shape[2:])
    if not isinstance(x, Value) or size * math.prod(out_shape[2:]) > LARGEST_TABLE:
        return everywhere(node, number, node.name)
    links: list[Link] = []
    dtype = grid.dtype if grid.dtype in (torch.float32, torch.float64) else torch.float32
    images = torch.eye(size, dtype=dtype).reshape(1, size, *in_shape[2:])
    for sample in range(in_shape[0]):
        weights = node.func(images, grid[sample : sample + 1].cpu().to(dtype), *node.args[2:])
        reads = (weights.reshape(size, -1) != 0).T.numpy()
        flat = Flattened(out_shape, in_shape, reads, sample)
        links.append(flat)
    return [(x, links[0] if len(links) == 1 else Several(links))]


class Flattened(Link):
    """All positions of a plane by a relation between flat positions, channel by channel, for one sample."""

    def __init__(self, out_shape: Shape, in_shape: Shape, reads: np.ndarray, sample: int) -> None:
        super().__init__(out_shape, in_shape)
        self.relation, self.sample = Relation(reads), sample

    def _back_mask(self, mask: np.ndarray) -> Any:
        rows = mask[:, self.sample].reshape(-1, self.relation.num_out)
        read = np.zeros((len(mask), *self.in_shape), dtype=np.bool_)
        read[:, self.sample] = self.relation.back(rows).reshape(len(mask), *self.in_shape[1:])
        return from_mask(read)


@rule("bucketize", "searchsorted", "isin")
def search(node: Node, number: int) -> Found:
    """Position by position in the numbers looked up; all of a computed table."""
    out_shape = node.outputs[number].shape
    table, looked_up = (node.args[0], node.args[1]) if node.name == "searchsorted" else (node.args[1], node.args[0])
    found: Found = []
    if isinstance(looked_up, Value):
        found.append((looked_up, broadcast(out_shape, looked_up.shape)))
    if isinstance(table, Value):
        axes: list[Source] = [(None, None)] * len(table.shape)
        if node.name == "searchsorted" and len(table.shape) == len(out_shape):
            axes = [(a, None) for a in range(len(out_shape) - 1)] + [(None, None)]
        found.append((table, Separable(out_shape, table.shape, axes)))
    return found
