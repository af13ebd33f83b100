"""How the positions along one axis of an op's output read positions along one axis of its input.

An `AxisMap` answers `back(rows)`: ``rows`` is a bool array (row, output position), each row a set of output positions;
the answer (row, input position) holds what they read. `affine` is ``(step, low, high)`` where position u reads from
``step * u + low`` to ``step * u + high`` before anything is clipped, None where no such numbers exist.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.bool_]
Affine = tuple[Fraction, Fraction, Fraction]


def any_along(mask: Rows, axis: int | tuple[int, ...], keepdims: bool = False) -> Rows:
    """Whether anything is True along some axes."""
    return np.asarray(mask.any(axis=axis, keepdims=keepdims))


class AxisMap:
    """What output positions of one axis read along one input axis."""

    num_out: int
    num_in: int
    affine: Affine | None = None
    whole = False
    """Whether every position reads the whole axis, so that the op is global along it."""

    def back(self, rows: Rows) -> Rows:
        """What the output positions in each row read."""
        raise NotImplementedError


class Taps(AxisMap):
    """Each output position reads the input positions listed in its row of ``table``; -1 and beyond mean none."""

    def __init__(self, table: NDArray[Any], num_in: int, affine: Affine | None = None) -> None:
        table = np.asarray(table, dtype=np.int64)
        self.table = np.where((table < 0) | (table >= num_in), num_in, table)
        self.num_out, self.num_in, self.affine = len(table), num_in, affine
        self._columns: list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] | None = None

    def back(self, rows: Rows) -> Rows:
        hit = np.zeros((len(rows), self.num_in + 1), dtype=np.bool_)
        if len(rows) == 1:
            hit[0, self.table[rows[0]]] = True
            return hit[:, :-1]
        if rows.size:
            for order, starts, targets in self._sorted_columns():
                hit[:, targets] |= np.logical_or.reduceat(rows[:, order], starts, axis=1)
        return hit[:, :-1]

    def _sorted_columns(self) -> list[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]:
        """Per tap: the outputs sorted by what they read, where each group starts, and what it reads."""
        if self._columns is None:
            self._columns = []
            for column in self.table.T:
                order = np.argsort(column, kind="stable")
                targets, starts = np.unique(column[order], return_index=True)
                self._columns.append((order, starts, targets))
        return self._columns


class Everything(AxisMap):
    """Every output position reads every input position."""

    whole = True

    def __init__(self, num_out: int, num_in: int) -> None:
        self.num_out, self.num_in = num_out, num_in

    def back(self, rows: Rows) -> Rows:
        return np.repeat(rows.any(axis=1, keepdims=True), self.num_in, axis=1)


class Relation(AxisMap):
    """Any relation, given as a bool matrix (output position, input position)."""

    def __init__(self, matrix: Rows) -> None:
        self.matrix = np.ascontiguousarray(matrix, dtype=np.bool_)
        self.num_out, self.num_in = matrix.shape

    def back(self, rows: Rows) -> Rows:
        if len(rows) == 1:
            return self.matrix[rows[0]].any(axis=0, keepdims=True)
        return np.asarray(rows.astype(np.float32) @ self.matrix.astype(np.float32) > 0)


class Blocks(AxisMap):
    """Consecutive groups: output group g reads the whole of input group g."""

    def __init__(self, num_groups: int, out_size: int, in_size: int) -> None:
        self.num_groups, self.out_size, self.in_size = num_groups, out_size, in_size
        self.num_out, self.num_in = num_groups * out_size, num_groups * in_size

    def back(self, rows: Rows) -> Rows:
        groups = rows.reshape(len(rows), self.num_groups, self.out_size).any(axis=2)
        return np.repeat(groups, self.in_size, axis=1)


class Prefix(AxisMap):
    """Position u reads 0 to u: cumulative sums."""

    whole = True

    def __init__(self, num: int) -> None:
        self.num_out = self.num_in = num

    def back(self, rows: Rows) -> Rows:
        return np.asarray(np.logical_or.accumulate(rows[:, ::-1], axis=1)[:, ::-1])


@lru_cache(maxsize=4096)
def window(
    num_out: int, num_in: int, size: int, stride: int, padding: int, dilation: int, taps: tuple[int, ...] | None = None
) -> AxisMap:
    """A sliding window, as in convolution and pooling; only its ``taps`` read (None: all of them)."""
    used = np.arange(size) if taps is None else np.asarray(taps, dtype=np.int64)
    table = np.arange(num_out)[:, None] * stride - padding + used[None, :] * dilation
    affine = None
    if len(used):
        low, high = int(used.min()) * dilation - padding, int(used.max()) * dilation - padding
        affine = (Fraction(stride), Fraction(low), Fraction(high))
    return Taps(table, num_in, affine)


@lru_cache(maxsize=1024)
def transposed_window(
    num_out: int, num_in: int, size: int, stride: int, padding: int, dilation: int, taps: tuple[int, ...] | None = None
) -> AxisMap:
    """A transposed convolution: output u reads input i where u + padding = i * stride + tap * dilation."""
    used = np.arange(size) if taps is None else np.asarray(taps, dtype=np.int64)
    numerator = np.arange(num_out)[:, None] + padding - used[None, :] * dilation
    table = np.where(numerator % stride == 0, numerator // stride, -1)
    affine = None
    if len(used):
        low = Fraction(padding - int(used.max()) * dilation, stride)
        affine = (Fraction(1, stride), low, Fraction(padding - int(used.min()) * dilation, stride))
    return Taps(table, num_in, affine)


@lru_cache(maxsize=1024)
def strided(num_out: int, num_in: int, start: int, step: int) -> AxisMap:
    """Position u reads ``start + step * u`` alone: slices, crops, shifts, padding with a constant."""
    table = (start + step * np.arange(num_out))[:, None]
    return Taps(table, num_in, (Fraction(step), Fraction(start), Fraction(start)))


@lru_cache(maxsize=256)
def everything(num_out: int, num_in: int) -> AxisMap:
    """Every position reads the whole axis."""
    return Everything(num_out, num_in)
