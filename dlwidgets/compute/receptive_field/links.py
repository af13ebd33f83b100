"""What the output of one op reads in one of its inputs, in a form that can be walked backwards.

Every link answers ``back(region)``: the positions of the input that the positions in ``region`` of the output read.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .axis_maps import AxisMap, Rows, any_along
from .regions import (
    Factor,
    NotProducts,
    Region,
    Term,
    combine_tags,
    from_mask,
    full,
    gate,
    intersect,
    is_empty,
    limited,
    union,
    union_of_terms,
    without,
)

Shape = tuple[int, ...]
Source = tuple[int | None, AxisMap | Rows | None]
"""One input axis: the output axis it follows and how (None: position by position), or (None, fixed positions)."""


class Link:
    """Something an output reads in an input. ``bound``: the op that may read less than this, "" if exactly this."""

    bound = ""

    def __init__(self, out_shape: Shape, in_shape: Shape) -> None:
        self.out_shape, self.in_shape = out_shape, in_shape

    def back(self, region: Region) -> Region:
        """What the positions in ``region`` read."""
        if region.mask is None:
            try:
                return limited(self._back_terms(region))
            except NotProducts:
                if region.follows_axes:
                    raise
        return self._back_mask(region.dense()).simplified()

    def _back_terms(self, region: Region) -> Region:  # noqa: ARG002
        raise NotProducts

    def _back_mask(self, mask: NDArray[np.bool_]) -> Region:
        raise NotImplementedError

    def sources(self) -> list[Source] | None:
        """Per input axis where it comes from, if the axes are independent: for sizes and jumps."""
        return None


class Same(Link):
    """Position by position, nothing moves."""

    def back(self, region: Region) -> Region:
        return region

    def sources(self) -> list[Source]:
        return [(axis, None) for axis in range(len(self.in_shape))]


class Separable(Link):
    """Each input axis follows one output axis, or none; ``within`` limits the output positions that read at all."""

    def __init__(self, out_shape: Shape, in_shape: Shape, axes: list[Source], within: Term | None = None) -> None:
        super().__init__(out_shape, in_shape)
        self.axes, self.within = axes, within
        used = {out for out, _ in axes if out is not None}
        self.unused = [axis for axis in range(len(out_shape)) if axis not in used]

    def sources(self) -> list[Source]:
        return self.axes

    def _back_terms(self, region: Region) -> Region:
        found = []
        for term in region.terms:
            if self.within is not None:
                term = tuple(intersect(a, b) for a, b in zip(term, self.within, strict=True))
                if is_empty(term):
                    continue
            read = [
                self._back_factor(term, source, size) for source, size in zip(self.axes, self.in_shape, strict=True)
            ]
            if all(gate(read, term[axis]) and term[axis][1].any() for axis in self.unused) and not is_empty(
                tuple(read)
            ):
                found.append(tuple(read))
        return Region(self.in_shape, union_of_terms(found) if len(found) > 1 else found)

    def _back_factor(self, term: Term, source: Source, size: int) -> Factor:
        out, how = source
        if out is None:
            return full(size) if how is None or isinstance(how, AxisMap) else (None, how)
        if how is None:
            return term[out]
        tag, rows = term[out]
        assert isinstance(how, AxisMap)
        if how.whole and tag is None and rows.any() and type(how).__name__ == "Everything":
            return full(size)
        return tag, how.back(rows)

    def _back_mask(self, mask: NDArray[np.bool_]) -> Region:
        if self.within is not None:
            mask = mask & Region(self.out_shape, [self.within]).dense()
        if self.unused:
            mask = any_along(mask, tuple(axis + 1 for axis in self.unused), keepdims=True)
        for out, how in self.axes:
            if out is not None and isinstance(how, AxisMap):
                moved = np.moveaxis(mask, out + 1, -1)
                rows = how.back(moved.reshape(-1, how.num_out))
                mask = np.moveaxis(rows.reshape(*moved.shape[:-1], how.num_in), -1, out + 1)
        followed = [out for out, _ in self.axes if out is not None]
        mask = mask.transpose(0, *(out + 1 for out in followed), *(axis + 1 for axis in self.unused))
        mask = mask.reshape(mask.shape[: 1 + len(followed)])
        for axis, ((out, how), size) in enumerate(zip(self.axes, self.in_shape, strict=True)):
            if out is None:
                rows = full(size)[1] if how is None or isinstance(how, AxisMap) else how
                shape = [1] * (mask.ndim + 1)
                shape[axis + 1] = size
                mask = np.expand_dims(mask, axis + 1) & rows.reshape(shape)
        return Region(self.in_shape, [], np.ascontiguousarray(mask))


class Several(Link):
    """The union of several links."""

    def __init__(self, links: list[Link]) -> None:
        super().__init__(links[0].out_shape, links[0].in_shape)
        self.links = links
        self.bound = next((link.bound for link in links if link.bound), "")

    def back(self, region: Region) -> Region:
        found: Region | None = None
        for link in self.links:
            found = union(found, link.back(region))
        assert found is not None
        return found


class Reshape(Link):
    """The same numbers in the same order under another shape."""

    def __init__(self, out_shape: Shape, in_shape: Shape) -> None:
        super().__init__(out_shape, in_shape)
        self.groups = matching_groups(out_shape, in_shape)

    def sources(self) -> list[Source] | None:
        axes: list[Source] = [(None, None)] * len(self.in_shape)
        for outs, ins in self.groups:
            big_out = [axis for axis in outs if self.out_shape[axis] != 1]
            big_in = [axis for axis in ins if self.in_shape[axis] != 1]
            if len(big_in) == 1 and len(big_out) == 1:
                axes[big_in[0]] = big_out[0], None
            elif big_in:
                return None
        return axes

    def _back_terms(self, region: Region) -> Region:
        if math.prod(self.in_shape) == 0:
            return Region(self.in_shape, [])
        found: list[Term] = []
        for term in region.terms:
            partial: list[dict[int, Factor]] = [{}]
            for outs, ins in self.groups:
                choices = self._back_group(term, outs, ins)
                partial = [{**one, **choice} for one in partial for choice in choices]
            found += [tuple(one[axis] for axis in range(len(self.in_shape))) for one in partial]
        found = [term for term in found if not is_empty(term)]
        return Region(self.in_shape, union_of_terms(found))

    def _back_group(self, term: Term, outs: list[int], ins: list[int]) -> list[dict[int, Factor]]:
        """The products over the input axes of a group that its output factors make up."""
        ones = {axis: full(1) for axis in ins if self.in_shape[axis] == 1}
        big = [axis for axis in ins if self.in_shape[axis] != 1]
        factors = [term[axis] for axis in outs]
        real = [factor for factor, axis in zip(factors, outs, strict=True) if self.out_shape[axis] != 1]
        # An output axis of length 1 may be empty for some rows only where its factor is.
        for factor, axis in zip(factors, outs, strict=True):
            if self.out_shape[axis] == 1 and not factor[1].all():
                real.append(factor)
        if not big:
            if not real:
                return [ones]
            carrier: list[Factor] = [ones[axis] for axis in ins]
            if not all(gate(carrier, factor) for factor in real):
                return []
            return [dict(zip(ins, carrier, strict=True))]
        if len(real) == 1 and len(big) == 1 and real[0][1].shape[1] == self.in_shape[big[0]]:
            return [{**ones, big[0]: real[0]}]
        flat = real[0]
        for factor in real[1:]:
            tag = combine_tags(flat[0], factor[0])
            rows = flat[1][:, :, None] & factor[1][:, None, :]
            flat = tag, rows.reshape(len(rows), -1)
        tag, rows = flat
        if len(big) == 1:
            return [{**ones, big[0]: (tag, rows)}]
        sizes = [self.in_shape[axis] for axis in big]
        return [
            {**ones, **{axis: (tag, piece) for axis, piece in zip(big, pieces, strict=True)}}
            for pieces in split_rows(rows, sizes)
        ]

    def _back_mask(self, mask: NDArray[np.bool_]) -> Region:
        return from_mask(mask.reshape(len(mask), *self.in_shape))


def matching_groups(first: Shape, second: Shape) -> list[tuple[list[int], list[int]]]:
    """Cut two shapes of one number of elements into the shortest runs of axes of equal product."""
    groups = []
    i = j = 0
    while i < len(first) or j < len(second):
        left, right = [], []
        size_left = size_right = 1
        if i < len(first):
            left, size_left, i = [i], first[i], i + 1
        if j < len(second):
            right, size_right, j = [j], second[j], j + 1
        while size_left != size_right:
            if (size_left < size_right and i < len(first)) or j >= len(second):
                left.append(i)
                size_left, i = size_left * first[i], i + 1
            else:
                right.append(j)
                size_right, j = size_right * second[j], j + 1
        groups.append((left, right))
    return groups


def split_rows(rows: Rows, sizes: list[int]) -> list[list[Rows]]:
    """Write sets over a merged axis as products over the axes it was merged from: a list of products.

    Raises `NotProducts` if that takes too many.
    """
    if len(sizes) == 1:
        return [[rows]]
    rest = math.prod(sizes[1:])
    table = rows.reshape(len(rows), sizes[0], rest)
    head, tail = any_along(table, 2), any_along(table, 1)
    if (head[:, :, None] & tail[:, None, :] == table).all():
        return [[head, *pieces] for pieces in split_rows(tail, sizes[1:])]
    if len(rows) != 1:
        if sizes[0] > 8:
            raise NotProducts
        products = []
        for index in range(sizes[0]):
            at = np.zeros((1, sizes[0]), dtype=np.bool_)
            at[0, index] = True
            products += [
                [np.repeat(at, len(rows), axis=0), *pieces] for pieces in split_rows(table[:, index], sizes[1:])
            ]
        return products
    patterns, which = np.unique(table[0], axis=0, return_inverse=True)
    if len(patterns) > 16:
        raise NotProducts
    products = []
    for index, pattern in enumerate(patterns):
        if pattern.any():
            at = (which.reshape(-1) == index)[None]
            products += [[at, *pieces] for pieces in split_rows(pattern[None], sizes[1:])]
    return products


class Elsewhere(Link):
    """What a write of a product of positions leaves alone: the old numbers outside ``written``."""

    def __init__(self, shape: Shape, written: Term) -> None:
        super().__init__(shape, shape)
        self.written = written

    def sources(self) -> list[Source]:
        return [(axis, None) for axis in range(len(self.in_shape))]

    def _back_terms(self, region: Region) -> Region:
        found = []
        for term in region.terms:
            inner = list(term)
            for axis, written in enumerate(self.written):
                outside = (*inner[:axis], without(term[axis], written), *inner[axis + 1 :])
                if not is_empty(outside):
                    found.append(outside)
                inner[axis] = intersect(term[axis], written)
        return Region(self.in_shape, union_of_terms(found))

    def _back_mask(self, mask: NDArray[np.bool_]) -> Region:
        return from_mask(mask & ~Region(self.in_shape, [self.written]).dense())


class Masked(Link):
    """Position by position, but only where ``keep`` (bool, of the shape) is True."""

    def __init__(self, keep: NDArray[np.bool_], link: Link | None = None) -> None:
        super().__init__(keep.shape, link.in_shape if link else keep.shape)
        self.keep, self.link = keep, link
        self.bound = link.bound if link else ""
        product = from_mask(keep[None])
        self.terms = product.terms if product.mask is None else None

    def sources(self) -> list[Source] | None:
        if self.link is not None:
            return self.link.sources()
        return [(axis, None) for axis in range(len(self.in_shape))]

    def back(self, region: Region) -> Region:
        if region.mask is None and self.terms is not None:
            kept = [
                tuple(intersect(a, b) for a, b in zip(term, limit, strict=True))
                for term in region.terms
                for limit in self.terms
            ]
            inner = Region(self.out_shape, [term for term in kept if not is_empty(term)])
        elif region.follows_axes:
            raise NotProducts
        else:
            inner = from_mask(region.dense() & self.keep)
        return self.link.back(inner) if self.link is not None else inner


class Gather(Link):
    """Output position p reads the flat input positions ``table[p]``; -1 means none. ``table``: (outputs, taps)."""

    def __init__(self, out_shape: Shape, in_shape: Shape, table: NDArray[np.int64], bound: str = "") -> None:
        super().__init__(out_shape, in_shape)
        self.table, self.bound = table, bound

    def _back_mask(self, mask: NDArray[np.bool_]) -> Region:
        size = math.prod(self.in_shape)
        hit = np.zeros((len(mask), size + 1), dtype=np.bool_)
        for row, flat in enumerate(mask.reshape(len(mask), -1)):
            hit[row, self.table[flat]] = True
        return from_mask(hit[:, :-1].reshape(len(mask), *self.in_shape))


class Whole(Link):
    """Every output position reads the whole input: the last resort."""

    def __init__(self, out_shape: Shape, in_shape: Shape, bound: str = "") -> None:
        super().__init__(out_shape, in_shape)
        self.bound = bound

    def _back_terms(self, region: Region) -> Region:
        found = []
        for term in region.terms:
            read = [full(size) for size in self.in_shape]
            if all(gate(read, factor) and factor[1].any() for factor in term):
                found.append(tuple(read))
        return Region(self.in_shape, union_of_terms(found))

    def _back_mask(self, mask: NDArray[np.bool_]) -> Region:
        some = mask.reshape(len(mask), -1).any(axis=1).reshape(-1, *(1,) * len(self.in_shape))
        return from_mask(np.broadcast_to(some, (len(mask), *self.in_shape)).copy())
