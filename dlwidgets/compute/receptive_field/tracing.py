"""The public interface: `trace` a model, then ask which input positions any of its units can see."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .arguments import checked_axes, checked_example, checked_model, checked_position, integer
from .axis_maps import any_along
from .geometry import Geometry, Number
from .graph import Call, Run, Value
from .many_units import (
    Table,
    boxes_of_masks,
    boxes_of_terms,
    chunks_of_units,
    every_unit,
    over_axes,
    units_that_see,
)
from .regions import Factor, NotProducts, Region, Term, full, only
from .results import Field, Layer, LayerKey, Target, field_of
from .running import record
from .walk import Walk


class Trace:
    """A recorded run of a model: ``layers``, and the fields of their units."""

    def __init__(self, run: Run, axes: tuple[int, ...]) -> None:
        self._run, self._axes = run, axes
        self._walk = Walk(run, axes)
        self._geometry: Geometry | None = None
        self._layers: tuple[Layer, ...] | None = None
        self._tables: dict[Any, Table] = {}
        self._calls = [call for call in run.calls if call.innermost]
        self.input_shape = run.input_shape
        self.axes = axes

    def __repr__(self) -> str:
        return f"Trace(input {self.input_shape}, axes {self._axes}, {len(self._calls)} layers)"

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The calls of modules in execution order."""
        if self._layers is None:
            self._geometry = self._geometry or Geometry(self._walk, self._axes)
            self._layers = tuple(self._layer(call) for call in self._calls)
        return self._layers

    def _layer(self, call: Call) -> Layer:
        assert self._geometry is not None
        broken = self._broken(call.value)
        nothing: tuple[Number, ...] = (None,) * len(self._axes)
        sizes = (nothing, nothing, nothing) if broken else self._geometry.numbers(call.value)
        return Layer(call.name, call.call, call.kind, call.value.shape, *sizes)

    def _broken(self, value: Value) -> str:
        """Why nothing but the shape is known of a value, "" if more is."""
        broken = self._run.broken
        return broken[1] if broken is not None and value.time > broken[0] else ""

    # Questions

    def field(
        self,
        unit: Any,
        layer: LayerKey = None,
        channel: int | None = None,
        output_axes: tuple[int, ...] | None = None,
    ) -> Field:
        """The input positions that can change a unit."""
        target = self.target(layer, channel, output_axes)
        chosen = checked_position("unit", unit, target.sizes)
        if reason := self._broken(target.value):
            return field_of(np.ones(self.input_sizes, dtype=np.bool_), "bound", reason)
        units: list[Factor] = [only(size, index) for size, index in zip(target.sizes, chosen, strict=True)]
        found, bound, whole = self._walk.back(target.value, self._region(target, units))
        mask = self._over_axes(found)[0]
        return field_of(mask, "bound" if bound else "exact", bound or (whole if mask.any() else ""))

    def projection(
        self,
        pixel: Any,
        layer: LayerKey = None,
        channel: int | None = None,
        output_axes: tuple[int, ...] | None = None,
    ) -> Field:
        """The units that an input position can change: the same as `field`, over the output axes."""
        target = self.target(layer, channel, output_axes)
        position = checked_position("pixel", pixel, self.input_sizes)
        if reason := self._broken(target.value):
            return field_of(np.ones(target.sizes, dtype=np.bool_), "bound", reason)
        table = self._table(target)
        if table.terms is not None:
            mask = units_that_see(table, position)
        else:
            flat = int(np.ravel_multi_index(position, self.input_sizes)) if position else 0
            mask = np.concatenate([masks.reshape(len(masks), -1)[:, flat] for masks in self._masks(target)])
            mask = mask.reshape(target.sizes)
        return field_of(mask, table.status, table.because if table.status == "bound" or mask.any() else "")

    def size_map(self, layer: LayerKey = None) -> Tensor:
        """The box extents of every unit, clipped to the input: int64 (*output sizes, number of axes), 0 if none."""
        boxes = self.boxes(layer)
        return torch.from_numpy(boxes[..., 1] - boxes[..., 0])

    def boxes(
        self, layer: LayerKey = None, channel: int | None = None, output_axes: tuple[int, ...] | None = None
    ) -> np.ndarray:
        """The box of every unit: int64 (*output sizes, number of input axes, 2), start and stop; 0, 0 if none."""
        target = self.target(layer, channel, output_axes)
        sizes = target.sizes
        if self._broken(target.value):
            extents = np.array([[0, size] for size in self.input_sizes], dtype=np.int64).reshape(-1, 2)
            return np.broadcast_to(extents, (*sizes, *extents.shape)).copy()
        table = self._table(target)
        if table.terms is not None:
            return boxes_of_terms(table, len(self._axes))
        boxes = [boxes_of_masks(masks) for masks in self._masks(target)]
        return np.concatenate(boxes).reshape(*sizes, len(self._axes), 2)

    def products(
        self, layer: LayerKey = None, channel: int | None = None, output_axes: tuple[int, ...] | None = None
    ) -> tuple[Term, ...] | None:
        """The fields of all units as a union of at most 8 products, None if they are not that: see `Table`."""
        return self.table(layer, channel, output_axes).terms

    def table(
        self, layer: LayerKey = None, channel: int | None = None, output_axes: tuple[int, ...] | None = None
    ) -> Table:
        """The fields of all units of an output, with their status."""
        target = self.target(layer, channel, output_axes)
        if reason := self._broken(target.value):
            term = tuple((None, np.ones((1, size), dtype=np.bool_)) for size in self.input_sizes)
            return Table((term,), target.sizes, "bound", reason)
        return self._table(target)

    def _table(self, target: Target) -> Table:
        key = (target.value, target.axes, target.channel)
        if key not in self._tables:
            self._tables[key] = self._make_table(target)
        return self._tables[key]

    def _make_table(self, target: Target) -> Table:
        try:
            found, bound, whole = self._walk.back(target.value, self._region(target, every_unit(target.sizes)))
            terms = tuple(over_axes(found, self._axes))
        except NotProducts:
            return Table(None, target.sizes, *self._status_in_chunks(target))
        return Table(terms, target.sizes, "bound" if bound else "exact", bound or whole)

    def _status_in_chunks(self, target: Target) -> tuple[str, str]:
        bound = whole = ""
        for _, units in chunks_of_units(target.sizes, self._largest()):
            _, reason, op = self._walk.back(target.value, self._region(target, units))
            bound, whole = bound or reason, whole or op
        return "bound" if bound else "exact", bound or whole

    def _masks(self, target: Target) -> Iterator[np.ndarray]:
        """The fields of all units in row-major order, some at a time: (unit, *input axes)."""
        for which, units in chunks_of_units(target.sizes, self._largest()):
            found, _, _ = self._walk.back(target.value, self._region(target, units))
            masks = self._over_axes(found)
            yield np.broadcast_to(masks, (which.stop - which.start, *masks.shape[1:]))

    def _largest(self) -> int:
        """The most numbers that one tensor of the run has."""
        shapes = [
            self._run.input_shape,
            *(out.shape for node in self._run.nodes if node.depends for out in node.outputs),
        ]
        return max(map(math.prod, shapes))

    @property
    def input_sizes(self) -> tuple[int, ...]:
        """How many positions the input has along each axis."""
        return tuple(self._run.input_shape[axis] for axis in self._axes)

    def _region(self, target: Target, units: list[Factor]) -> Region:
        """The numbers of an output that make up units: sample 0, one channel or all."""
        shape = target.value.shape
        factors = [full(size) for size in shape]
        if shape and 0 not in target.axes:
            factors[0] = only(shape[0], 0)
        if target.channel is not None and target.channel_axis is not None:
            factors[target.channel_axis] = only(shape[target.channel_axis], target.channel)
        for axis, factor in zip(target.axes, units, strict=True):
            factors[axis] = factor
        return Region(shape, [tuple(factors)])

    def _over_axes(self, region: Region) -> np.ndarray:
        """The mask (row, *input axes) of sample 0, any channel."""
        mask = region.dense()
        if 0 not in self._axes and mask.ndim > 1:
            mask = mask[:, :1]
        others = tuple(a + 1 for a in range(len(region.shape)) if a not in self._axes)
        mask = any_along(mask, others) if others else mask
        rank = {axis: index for index, axis in enumerate(sorted(self._axes))}
        return mask.transpose(0, *(rank[axis] + 1 for axis in self._axes))

    # Arguments

    def target(self, layer: LayerKey = None, channel: Any = None, output_axes: Any = None) -> Target:
        """The output that these arguments of `field` mean, checked."""
        value, call = self._value(layer)
        num_dims = len(value.shape)
        if output_axes is None:
            axes = self._axes if num_dims == len(self._run.input_shape) else tuple(range(2, num_dims))
        else:
            axes = checked_axes("output_axes", output_axes, num_dims)
        rest = [axis for axis in range(1, num_dims) if axis not in axes]
        if channel is None:
            return Target(value, call, axes, rest[0] if rest else None, None)
        number = integer("channel", channel)
        if not rest:
            raise ValueError(f"channel must be None for an output of shape {value.shape} with positions on axes {axes}")
        size = value.shape[rest[0]]
        if not -size <= number < size:
            raise ValueError(f"channel must be between {-size} and {size - 1}, got {number}")
        return Target(value, call, axes, rest[0], number % size)

    def _value(self, layer: LayerKey) -> tuple[Value, tuple[str, int] | None]:
        """The value of an output and the call that made it; None for the model's own output."""
        if layer is None:
            return self._run.output, None
        call = self._call(layer)
        return call.value, (call.name, call.call)

    def _call(self, layer: Any) -> Call:
        kinds = "None, an index, a name or (name, call)"
        if isinstance(layer, str):
            named = [call for call in self._run.calls if call.name == layer]
            if not named:
                raise ValueError(f"layer {layer!r} was not called; the layers are {self._names()}")
            return max(named, key=lambda call: call.call)
        if isinstance(layer, tuple):
            if len(layer) != 2 or not isinstance(layer[0], str):
                raise TypeError(f"layer must be {kinds}, got {layer!r}")
            key = layer[0], integer("layer's call", layer[1])
            for call in self._run.calls:
                if (call.name, call.call) == key:
                    return call
            raise ValueError(f"layer {layer!r} was not called; the layers are {self._names()}")
        index = integer("layer", layer, kinds)
        if not -len(self._calls) <= index < len(self._calls):
            raise ValueError(f"layer must be an index below {len(self._calls)}, the number of layers, got {index}")
        return self._calls[index]

    def _names(self) -> str:
        names = list(dict.fromkeys(call.name for call in self._calls))
        return ", ".join(map(repr, names[:12])) + (", ..." if len(names) > 12 else "")


def trace(model: nn.Module, example: Any, axes: tuple[int, ...] | None = None) -> Trace:
    """Run ``model`` once and record how its units depend on the input.

    ``example`` is a tensor, a tuple of positional arguments, or a shape including the batch (a torch.Size or a tuple of
    ints). ``axes`` are the axes of the first input that are positions; default all after batch and channel.
    """
    checked_model(model)
    arguments = checked_example(model, example)
    first = next(item for item in arguments if isinstance(item, Tensor))
    chosen = tuple(range(2, first.dim())) if axes is None else checked_axes("axes", axes, first.dim())
    return Trace(record(model, arguments), chosen)
