"""The fields of all units of an output at once: as products of per-axis tables where they are that, else in chunks."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .axis_maps import Rows, any_along
from .regions import Factor, NotProducts, Region, Term, gate, intersect, is_empty, only

LARGEST_CHUNK = 2**25
"""About how many bools a chunk of units may need for one tensor of the network."""


@dataclass(frozen=True, eq=False)
class Table:
    """The fields of all units of an output, as a union of at most 8 products.

    ``terms``: each term has one entry per input axis, ``(axis, rows)``: ``rows[u]`` are the positions that the term
    holds along that input axis for units with coordinate u along output axis number ``axis`` (an index into the
    output's axes of positions); with axis None ``rows`` has one row, for all units. None if the fields are not such a
    union.
    ``status`` and ``because`` are as in `Field`, for all units together.
    """

    terms: tuple[Term, ...] | None
    sizes: tuple[int, ...]
    status: str
    because: str


def over_axes(region: Region, axes: tuple[int, ...]) -> list[Term]:
    """The terms of a region of the input over its axes of positions: sample 0, any channel. Raises `NotProducts`."""
    if region.mask is not None:
        raise NotProducts
    found = []
    for term in region.terms:
        kept = [term[axis] for axis in axes]
        conditions: list[Factor] = []
        for axis, factor in enumerate(term):
            if axis not in axes:
                conditions.append(intersect(factor, only(region.shape[0], 0)) if axis == 0 else factor)
        if all(factor[1].any() and gate(kept, factor) for factor in conditions) and not is_empty(tuple(kept)):
            found.append(tuple(kept))
    return found


def every_unit(sizes: tuple[int, ...]) -> list[Factor]:
    """All units at once: along each axis the rows are the coordinates."""
    return [(axis, np.eye(size, dtype=np.bool_)) for axis, size in enumerate(sizes)]


def chunks_of_units(sizes: tuple[int, ...], largest: int) -> Iterator[tuple[slice, list[Factor]]]:
    """All units in row-major order, some at a time: which ones, and a factor per axis with one row a unit."""
    total = math.prod(sizes)
    length = max(1, min(512, LARGEST_CHUNK // max(largest, 1)))
    for start in range(0, total, length):
        which = slice(start, min(start + length, total))
        coordinates = np.unravel_index(np.arange(which.start, which.stop), sizes) if sizes else ()
        yield which, [(0, np.eye(size, dtype=np.bool_)[at]) for size, at in zip(sizes, coordinates, strict=True)]


def boxes_of_terms(table: Table, num_axes: int) -> NDArray[np.int64]:
    """(*units, input axis, 2): start and stop of every unit's box; 0, 0 where it sees nothing."""
    assert table.terms is not None
    low = np.full((*table.sizes, num_axes), np.iinfo(np.int64).max)
    high = np.zeros((*table.sizes, num_axes), dtype=np.int64)
    for term in table.terms:
        alive = np.ones((1,) * len(table.sizes), dtype=np.bool_)
        for tag, rows in term:
            alive = alive & _spread(any_along(rows, 1), tag, len(table.sizes))
        for axis, (tag, rows) in enumerate(term):
            first = _spread(rows.argmax(axis=1), tag, len(table.sizes))
            last = _spread(rows.shape[1] - rows[:, ::-1].argmax(axis=1), tag, len(table.sizes))
            low[..., axis] = np.where(alive, np.minimum(low[..., axis], first), low[..., axis])
            high[..., axis] = np.where(alive, np.maximum(high[..., axis], last), high[..., axis])
    return np.stack([np.where(high > 0, low, 0), high], axis=-1)


def _spread(values: NDArray, tag: int | None, num_axes: int) -> NDArray:
    """One number per row, laid along the output axis that the rows follow."""
    return values.reshape([-1 if axis == tag else 1 for axis in range(num_axes)])


def boxes_of_masks(masks: Rows) -> NDArray[np.int64]:
    """(unit, input axis, 2) from masks (unit, *input axes)."""
    num_axes = masks.ndim - 1
    boxes = np.zeros((len(masks), num_axes, 2), dtype=np.int64)
    for axis in range(num_axes):
        rows = any_along(masks, tuple(a + 1 for a in range(num_axes) if a != axis))
        alive = any_along(rows, 1)
        boxes[:, axis, 0] = np.where(alive, rows.argmax(axis=1), 0)
        boxes[:, axis, 1] = np.where(alive, rows.shape[1] - rows[:, ::-1].argmax(axis=1), 0)
    return boxes


def units_that_see(table: Table, pixel: tuple[int, ...]) -> NDArray[np.bool_]:
    """The mask over the units whose field holds ``pixel``."""
    assert table.terms is not None
    mask = np.zeros(table.sizes, dtype=np.bool_)
    for term in table.terms:
        seen = np.ones((1,) * len(table.sizes), dtype=np.bool_)
        for (tag, rows), position in zip(term, pixel, strict=True):
            seen = seen & _spread(rows[:, position], tag, len(table.sizes))
        mask |= seen
    return mask
