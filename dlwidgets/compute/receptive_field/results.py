"""What a trace answers: layers, fields, and the outputs that are asked about."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .geometry import Number
from .graph import Value

LayerKey = int | str | tuple[str, int] | None


@dataclass(frozen=True, eq=False)
class Layer:
    """One call of a module that called no other module.

    ``name`` is the module's name in ``model.named_modules()``, ``call`` counts its calls from 0, ``kind`` is its class.
    ``size``, ``jump`` (effective stride) and ``padding`` (effective start padding) have one entry per input axis; they
    are unclipped, may be fractions behind upsampling, and are None where no such number exists.
    """

    name: str
    call: int
    kind: str
    output_shape: tuple[int, ...]
    size: tuple[Number, ...]
    jump: tuple[Number, ...]
    padding: tuple[Number, ...]


@dataclass(frozen=True, eq=False)
class Field:
    """A set of positions: the field of a unit over the input axes, or a projection over the output axes.

    ``box`` is ((start, stop), ...), None when nothing is in it; ``mask`` a bool tensor; ``count`` its number of True.
    ``status`` is "exact", or "bound" for a superset; ``because`` names the op that made it a bound or global.
    """

    box: tuple[tuple[int, int], ...] | None
    mask: Tensor
    count: int
    status: str
    because: str


def field_of(mask: np.ndarray, status: str, because: str) -> Field:
    """The `Field` of a mask."""
    count = int(mask.sum())
    box = None
    if count:
        num_axes = mask.ndim
        box = tuple(
            (int(hits[0]), int(hits[-1]) + 1)
            for axis in range(num_axes)
            for hits in [np.flatnonzero(mask.any(axis=tuple(a for a in range(num_axes) if a != axis)))]
        )
    return Field(box, torch.from_numpy(np.array(mask, order="C")), count, status, because)


@dataclass(frozen=True, eq=False)
class Target:
    """An output that is asked about: its value, whose call it is the output of (None: the model's), its axes of
    positions, and the axis that ``channel`` counts."""

    value: Value
    call: tuple[str, int] | None
    axes: tuple[int, ...]
    channel_axis: int | None
    channel: int | None

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many units there are along each axis."""
        return tuple(self.value.shape[axis] for axis in self.axes)

    def index(self, unit: tuple[int, ...], sample: int = 0) -> tuple[int | slice, ...]:
        """Where the numbers of a unit lie in the output: one sample, one channel or all."""
        index: list[int | slice] = [slice(None)] * len(self.value.shape)
        if index and 0 not in self.axes:
            index[0] = sample
        if self.channel is not None and self.channel_axis is not None:
            index[self.channel_axis] = self.channel
        for axis, position in zip(self.axes, unit, strict=True):
            index[axis] = position
        return tuple(index)
