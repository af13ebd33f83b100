"""What there is to see of one layer: the jobs behind ReceptiveFieldViewer, pure functions of picklable arguments."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor, nn

from dlwidgets.compute.context import Context, tick
from dlwidgets.compute.images import to_picture
from dlwidgets.compute.receptive_field import EffectiveField, Field, Trace, trace
from dlwidgets.compute.receptive_field.activations import Key, activations, unit_picture
from dlwidgets.compute.receptive_field.effective import field_of_outputs
from dlwidgets.compute.receptive_field.example import Example
from dlwidgets.compute.receptive_field.growth import Growth, growth
from dlwidgets.compute.receptive_field.selection import Place, check, existing, place_of

WIDEST_PADDING = 0.25
"""At most this share of the input is shown as padding around it on each side."""

FAINTEST = 1e-6
"""On the log scale contributions below this share of the largest one look alike."""

MOST_BOXES = 20_000
"""Of more units than these no boxes are computed in advance; the fields come one by one."""


@dataclass(frozen=True, eq=False)
class Look:
    """One layer, ready to be looked at.

    Attributes:
        layer: as asked for.
        index: of the layer in ``net.layers``; None for an output that no layer gave.
        title: what it is called, with its kind.
        sizes: numbers of units along each output axis.
        input_sizes: numbers of positions along each input axis.
        num_channels: how many channels a selection may name; None if it has no such axis.
        channel: the selected one, or None.
        unit: the selected one.
        in_at: where the picture of the input cuts through its axes before the last two: in the middle of the field.
        field: what ``unit`` sees.
        table: for each term and input axis the output axis (-1: none) and a bool matrix (output position, input
            position); None if the fields are no small unions of products.
        boxes: int32 (*sizes, input axes, 2), start and stop of every unit's field, if there is no ``table``.
        windows: (input axes, 4): output axis, jump, size and start padding, nan where there is no such number.
        status: of the table, "exact" or "bound".
        because: the operation responsible.
        outside: rows above, columns left, rows below and columns right of the input that any unit's window reaches.
        picture: the layer's activations over its last two output axes, one channel or the mean of all; 0 if unknown.
        input_picture: the first sample of the input.
    """

    layer: Any
    index: int | None
    title: str
    sizes: tuple[int, ...]
    input_sizes: tuple[int, ...]
    num_channels: int | None
    channel: int | None
    unit: tuple[int, ...]
    in_at: tuple[int, ...]
    field: Field
    table: list[list[tuple[int, np.ndarray]]] | None
    boxes: np.ndarray | None
    windows: Float[np.ndarray, "axis 4"]
    status: str
    because: str
    outside: tuple[int, int, int, int]
    picture: Float32[Tensor, "height width"]
    input_picture: UInt8[np.ndarray, "rows columns 3"]


@dataclass(frozen=True, eq=False)
class Inspection:
    """A traced model, and what all looks at its layers share.

    Attributes:
        net: the trace.
        model: what was traced.
        example: what it was traced on.
        output_axes: as asked for.
        layer: the selected layer as asked for, or None where that does not exist.
        pixel: the selected position of the input, likewise.
        names: of the layers, with the number of the call where one is called several times.
        growth: of the field along the layers.
        pictures: what `activations` found, once it has run.
    """

    net: Trace
    model: nn.Module
    example: Example
    output_axes: tuple[int, ...] | None
    layer: Any
    pixel: tuple[int, ...] | None
    names: list[str]
    growth: Growth
    pictures: dict[Key, Tensor]


def inspect(
    model: nn.Module,
    example: Example,
    *,
    axes: tuple[int, ...] | None = None,
    output_axes: tuple[int, ...] | None = None,
    layer: Any = None,
    unit: Any = None,
    channel: int | None = None,
    pixel: Any = None,
    strict: bool = True,
    context: Context | None = None,
) -> tuple[Inspection, Look]:
    """Trace ``model`` on ``example`` and look at ``layer``.

    Args:
        model: used as it is, so hand over a `structural_copy`.
        example: what to call it with.
        axes: as in `trace`.
        output_axes: as in `trace`.
        layer: as in `trace`, and so are ``unit`` and ``channel``.
        unit: None is the middle one.
        channel: None takes all together.
        pixel: a position of the input that is selected besides; None for none.
        strict: False replaces what does not exist here: a layer by the output, a unit by the middle one, a channel by
            all, a pixel by none.
        context: hears how far it is.

    Raises:
        TypeError: as `trace`, and for a layer, unit or channel of the wrong kind.
        ValueError: as `trace`, for one that does not exist, and for an input without axes of positions.
    """
    tick(context, 0.0, "tracing the model")
    net = trace(model, example.arguments, axes=axes)
    input_sizes = net.input_sizes
    if not input_sizes:
        shape = tuple(example.arguments[0].shape)
        raise ValueError(
            f"the input has shape {shape}, no axes after batch and channel: name the axes of positions, such as "
            "axes=(1,)"
        )
    tick(context, 0.6, "following the layers")
    names = [f"{each.name or 'model'} #{each.call + 1}" if each.call else each.name or "model" for each in net.layers]
    if strict:
        pixel = check("pixel", pixel, net, layer, output_axes)
    else:
        layer, unit, channel, pixel = existing(net, layer, unit, channel, pixel, output_axes)
    grown = growth(net.layers, input_sizes, lambda index: _middle_extents(net, index))
    inspection = Inspection(net, model, example, output_axes, layer, pixel, names, grown, {})
    return inspection, look(inspection, layer=layer, unit=unit, channel=channel, context=context)


def _middle_extents(net: Trace, layer: int) -> tuple[int, ...]:
    """How many positions the middle unit's box covers on each input axis, 0 where it sees nothing."""
    unit = tuple(size // 2 for size in net.target(layer, None, None).sizes)
    box = net.field(unit, layer=layer).box
    return tuple(0 for _ in net.input_sizes) if box is None else tuple(stop - start for start, stop in box)


def look(
    inspection: Inspection, *, layer: Any, unit: Any = None, channel: int | None = None, context: Context | None = None
) -> Look:
    """Everything that is shown of one layer of a traced model; the arguments are those of `inspect`."""
    net, output_axes, input_sizes = inspection.net, inspection.output_axes, inspection.net.input_sizes
    place = place_of(net, layer, output_axes)
    channel = check("channel", channel, net, layer, output_axes)
    unit = check("unit", unit, net, layer, output_axes)
    field = net.field(unit, layer=layer, channel=channel, output_axes=output_axes)
    tick(context, 0.8, "collecting what each unit sees")
    table = net.table(layer, channel, output_axes)
    boxes = None if table.terms is not None else net.boxes(layer, channel, output_axes).astype(np.int32)
    windows = _windows(inspection, place)
    tick(context, 0.9, "running the model")
    return Look(
        layer=layer,
        index=place.index,
        title=_title(inspection, place),
        sizes=place.sizes,
        input_sizes=input_sizes,
        num_channels=place.num_channels,
        channel=channel,
        unit=unit,
        in_at=_middle_of(field, input_sizes),
        field=field,
        table=_terms(table.terms),
        boxes=boxes,
        windows=windows,
        status=table.status,
        because=table.because,
        outside=_outside(windows, place.sizes, input_sizes),
        picture=_picture(inspection, place, unit, channel),
        input_picture=to_picture(inspection.example.arguments[0], net.axes),
    )


def see(inspection: Inspection, *, layer: Any, unit: Any, channel: int | None, context: Context | None = None) -> Field:
    """What one unit sees."""
    tick(context, 0.0, "following one unit")
    return inspection.net.field(unit, layer=layer, channel=channel, output_axes=inspection.output_axes)


def answer(
    inspection: Inspection,
    role: str,
    index: tuple[int, ...],
    *,
    layer: Any,
    channel: int | None,
    context: Context | None = None,
) -> np.ndarray:
    """The mask of what the unit at ``index`` sees (role "unit"), or of the units that see a position (role "input")."""
    tick(context, 0.0, "following one position")
    net = inspection.net
    follow = net.field if role == "unit" else net.projection
    return follow(index, layer=layer, channel=channel, output_axes=inspection.output_axes).mask.numpy()


def effective(
    model: nn.Module,
    inputs: Any,
    unit: tuple[int, ...],
    *,
    layer: Any,
    channel: int | None,
    axes: tuple[int, ...] | None,
    output_axes: tuple[int, ...] | None,
    context: Context | None = None,
) -> EffectiveField:
    """`effective_receptive_field` as a job."""
    tick(context, 0.0, "effective field")
    return field_of_outputs(
        model, inputs, unit, layer=layer, channel=channel, axes=axes, output_axes=output_axes, context=context
    )


def contribution_picture(effective: EffectiveField, at: Sequence[int], log: bool) -> Float[Tensor, "height width"]:
    """The contributions over the last two input axes, at the positions ``at`` on those before; log10 of the share of
    the largest, at least log10 of `FAINTEST`, if ``log``."""
    contribution = effective.contribution
    plane = contribution[tuple(at)] if contribution.ndim > 2 else contribution.reshape(-1, contribution.shape[-1])
    if not log:
        return plane
    largest = contribution.max().clamp_min(torch.finfo(contribution.dtype).tiny)
    return (plane / largest).clamp_min(FAINTEST).log10()


def plane_box(field: Field) -> np.ndarray:
    """The field's box on the last two input axes, as the rows of `Raster.boxes`: row, column, row, column, class."""
    if field.box is None:
        return np.zeros((0, 5), dtype=np.int32)
    (top, bottom), (left, right) = ((0, 1), *field.box)[-2:]
    return np.array([[top, left, bottom, right, 0]], dtype=np.int32)


def _middle_of(field: Field, input_sizes: tuple[int, ...]) -> tuple[int, ...]:
    box = field.box if field.box is not None else tuple((0, size) for size in input_sizes)
    return tuple((start + stop - 1) // 2 for start, stop in box)[:-2]


def _outside(windows: np.ndarray, sizes: tuple[int, ...], input_sizes: tuple[int, ...]) -> tuple[int, int, int, int]:
    before, after = [0, 0], [0, 0]
    for place, (row, room) in enumerate(zip(windows[-2:], input_sizes[-2:], strict=True)):
        axis, jump, size, padding = row
        if not np.isfinite(row).all():
            continue
        last = (sizes[int(axis)] - 1) * jump - padding + size if axis >= 0 else size - padding
        most = WIDEST_PADDING * room
        at = place + 2 - len(windows[-2:])
        before[at] = int(np.ceil(np.clip(padding, 0, most)))
        after[at] = int(np.ceil(np.clip(last - room, 0, most)))
    return before[0], before[1], after[0], after[1]


def _title(inspection: Inspection, place: Place) -> str:
    if place.name is None:
        return "output"
    if place.index is None or inspection.net.layers[place.index].name != place.name[0]:
        return f"module {place.name[0] or 'model'}"
    return f"layer {inspection.names[place.index]} ({inspection.net.layers[place.index].kind})"


def _picture(
    inspection: Inspection, place: Place, unit: tuple[int, ...], channel: int | None
) -> Float32[Tensor, "height width"]:
    net, found = inspection.net, inspection.pictures

    def axes_of(num_dims: int) -> tuple[int, ...]:
        if inspection.output_axes is not None:
            return tuple(axis % num_dims for axis in inspection.output_axes if num_dims)
        return net.axes if num_dims == len(net.input_shape) else tuple(range(2, num_dims))

    run = partial(activations, inspection.model, inspection.example.arguments, axes_of)
    try:
        if not found:
            found.update(run())
        key = _last_call(found, place.name)
        activation = (found if channel is None else run(wanted=key)).get(key)
        return unit_picture(activation, channel, unit[:-2], place.sizes)
    except Exception:  # a trace needs no real run, so a model that cannot have one is shown without activations
        return unit_picture(None, None, (), place.sizes)


def _last_call(found: dict[Key, Tensor], name: tuple[str, int | None] | None) -> Key:
    if name is None or name[1] is not None:
        return name  # type: ignore[return-value]
    return max((key for key in found if key is not None and key[0] == name[0]), default=None)


def _terms(terms: Any) -> list[list[tuple[int, np.ndarray]]] | None:
    if terms is None:
        return None
    return [[(-1 if axis is None else axis, rows) for axis, rows in term] for term in terms]


def _windows(inspection: Inspection, place: Place) -> np.ndarray:
    """One row an input axis: the output axis at the same rank, jump, size and padding; nan where there is none."""
    net = inspection.net
    windows = np.full((len(net.axes), 4), np.nan)
    if place.index is not None and len(place.sizes) == len(net.axes):
        layer = net.layers[place.index]
        for axis, numbers in enumerate(zip(layer.jump, layer.size, layer.padding, strict=True)):
            if None not in numbers:
                windows[axis] = [axis, *numbers]
    return windows
