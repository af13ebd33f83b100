"""Sets of positions of a tensor, as unions of products of per-axis sets, or as a full mask where an op forces it.

A *factor* ``(tag, rows)`` describes one axis: ``rows`` is a bool array (row, position). Walking back from one unit
there is one row. Walking back from many units at once the rows are those units' coordinates along one axis of the
output, and ``tag`` says which axis; tag None means one row that holds for all of them. A *term* is a tuple of factors,
one per axis of the tensor: their product. A `Region` is the union of its terms. Factors of different tags never meet
on one axis; where they would, the walk stops with `NotProducts`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .axis_maps import Rows, any_along

Factor = tuple[int | None, Rows]
Term = tuple[Factor, ...]

MOST_TERMS = 8
"""Beyond this a region becomes a full mask."""


class NotProducts(Exception):
    """The sets are no union of at most `MOST_TERMS` products."""


@lru_cache(maxsize=1024)
def full(num: int) -> Factor:
    """All positions of an axis."""
    rows = np.ones((1, num), dtype=np.bool_)
    rows.flags.writeable = False
    return None, rows


def only(num: int, position: int) -> Factor:
    """One position of an axis."""
    rows = np.zeros((1, num), dtype=np.bool_)
    rows[0, position] = True
    return None, rows


def combine_tags(first: int | None, second: int | None) -> int | None:
    """The tag of something made from two factors; they must not follow different axes."""
    if first is None or first == second:
        return second
    if second is None:
        return first
    raise NotProducts


def intersect(first: Factor, second: Factor) -> Factor:
    """What is in both."""
    if first is second:
        return first
    return combine_tags(first[0], second[0]), first[1] & second[1]


def without(first: Factor, second: Factor) -> Factor:
    """What is in the first and not in the second."""
    return combine_tags(first[0], second[0]), first[1] & ~second[1]


def contains(large: Factor, small: Factor) -> bool:
    """Whether every row of ``small`` lies in its row of ``large`` (certain where True)."""
    if large is small or large[1] is small[1]:
        return True
    if large[0] is not None and small[0] is not None and large[0] != small[0]:
        return bool((small[1].any(axis=0) <= large[1].all(axis=0)).all())
    return bool((small[1] <= large[1]).all())


def is_empty(term: Term) -> bool:
    """Whether a term holds nothing at all."""
    return any(not factor[1].any() for factor in term)


def gate(term: list[Factor], condition: Factor) -> bool:
    """Keep ``term`` (changed in place) only where ``condition`` holds anything; False if that is nowhere."""
    tag, rows = condition
    alive = any_along(rows, 1)
    if alive.all():
        return True
    if tag is None or not alive.any():
        return False
    # Rows that hold nothing must empty the product for those units: through a factor that follows the same axis.
    for wanted in (tag, None):
        for axis, factor in enumerate(term):
            if factor[0] == wanted:
                term[axis] = tag, factor[1] & alive[:, None]
                return True
    raise NotProducts


def union_of_terms(terms: list[Term]) -> list[Term]:
    """The same union with contained terms dropped and neighbours that differ along one axis joined."""
    kept: list[Term] = []
    for term in terms:
        candidate: Term | None = term
        index = 0
        while candidate is not None and index < len(kept):
            joined = _join(kept[index], candidate)
            if joined is kept[index]:
                candidate = None
            elif joined is not None:
                # A larger term may now swallow earlier ones: start again with it.
                candidate, index = joined, 0
                kept = [other for other in kept if other is not joined and not _inside(other, joined)]
            else:
                index += 1
        if candidate is not None:
            kept.append(candidate)
    return kept


def _inside(small: Term, large: Term) -> bool:
    return all(contains(b, a) for a, b in zip(small, large, strict=True))


def _join(first: Term, second: Term) -> Term | None:
    """One term for both, if there is one: the larger, or both joined along their only different axis."""
    larger = [contains(a, b) for a, b in zip(first, second, strict=True)]
    if all(larger):
        return first
    smaller = [contains(b, a) for a, b in zip(first, second, strict=True)]
    if all(smaller):
        return second
    different = [axis for axis in range(len(first)) if not (larger[axis] and smaller[axis])]
    if len(different) != 1:
        return None
    axis = different[0]
    (tag_a, rows_a), (tag_b, rows_b) = first[axis], second[axis]
    if tag_a is not None and tag_b is not None and tag_a != tag_b:
        return None
    joined = (tag_b if tag_a is None else tag_a, rows_a | rows_b)
    return (*first[:axis], joined, *first[axis + 1 :])


class Region:
    """A set of positions of a tensor of ``shape``: ``terms``, or ``mask`` (row, *shape) where that is not None."""

    __slots__ = ("mask", "shape", "terms")

    def __init__(self, shape: tuple[int, ...], terms: list[Term], mask: NDArray[np.bool_] | None = None) -> None:
        self.shape, self.terms, self.mask = shape, terms, mask

    def __bool__(self) -> bool:
        return bool(self.terms) if self.mask is None else bool(self.mask.any())

    @property
    def follows_axes(self) -> bool:
        """Whether the rows follow several axes of the output, so that there can be no mask."""
        return any(tag not in (None, 0) for term in self.terms for tag, _ in term)

    def dense(self) -> NDArray[np.bool_]:
        """The mask (row, *shape)."""
        if self.mask is not None:
            return self.mask
        if self.follows_axes:
            raise NotProducts
        num_rows = max((len(rows) for term in self.terms for _, rows in term), default=1)
        mask = np.zeros((num_rows, *self.shape), dtype=np.bool_)
        for term in self.terms:
            piece: NDArray[np.bool_] = np.ones((1,) * (len(self.shape) + 1), dtype=np.bool_)
            for axis, (_, rows) in enumerate(term):
                piece = piece & rows.reshape(len(rows), *(-1 if a == axis else 1 for a in range(len(self.shape))))
            mask |= piece
        return mask

    def simplified(self) -> Region:
        """The same with a mask of one row turned back into one product where it is one."""
        if self.mask is None or len(self.mask) != 1:
            return self
        return from_mask(self.mask)


def from_mask(mask: NDArray[np.bool_]) -> Region:
    """The region of a mask (row, *shape): a product if every row is one."""
    shape = mask.shape[1:]
    num_axes = len(shape)
    if not mask.any():
        return Region(shape, [])
    factors = [any_along(mask, tuple(a + 1 for a in range(num_axes) if a != axis)) for axis in range(num_axes)]
    sizes = np.ones(len(mask), dtype=np.int64)
    for rows in factors:
        sizes = sizes * rows.sum(axis=1)
    if (sizes == mask.reshape(len(mask), -1).sum(axis=1)).all():
        tag = None if len(mask) == 1 else 0
        return Region(shape, [tuple((tag, rows.reshape(len(mask), -1)) for rows in factors)])
    return Region(shape, [], mask)


def union(first: Region | None, second: Region) -> Region:
    """What is in either."""
    if first is None or not first:
        return second
    if not second or first is second:
        return first
    if first.mask is None and second.mask is None:
        terms = union_of_terms([*first.terms, *second.terms])
        return limited(Region(first.shape, terms))
    a, b = first.dense(), second.dense()
    return Region(first.shape, [], a | b)


def limited(region: Region, most: int | None = None) -> Region:
    """The same as a mask if it has too many terms."""
    if region.mask is not None or len(region.terms) <= (most or MOST_TERMS):
        return region
    if any(tag is not None and tag != 0 for term in region.terms for tag, _ in term):
        raise NotProducts
    return Region(region.shape, [], region.dense())
