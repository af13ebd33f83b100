"""Which layer, unit, channel and pixel: checked, and carried over from one layer to another."""

from dataclasses import dataclass
from typing import Any

from dlwidgets.compute.receptive_field import Trace
from dlwidgets.compute.receptive_field.arguments import checked_position


@dataclass(frozen=True)
class Place:
    """One layer of a trace, or its output, as a grid of units.

    Attributes:
        index: of the layer in ``net.layers`` that gave it; None if none did (an operation outside of any).
        name: of the module and the number of its call (None: the last); None for the model's output.
        axes: the axes of its output tensor that are positions.
        sizes: numbers of units along them.
        num_channels: length of the first other axis after the batch; None if there is none.
    """

    index: int | None
    name: tuple[str, int | None] | None
    axes: tuple[int, ...]
    sizes: tuple[int, ...]
    num_channels: int | None


def place_of(net: Trace, layer: Any, output_axes: tuple[int, ...] | None) -> Place:
    """Find a layer given by index, name (its last call) or (name, call); None is the output.

    Raises:
        TypeError: something else.
        ValueError: no such layer.
    """
    layer = tuple(layer) if isinstance(layer, list) else layer
    target = net.target(layer, None, output_axes)
    shape = target.value.shape
    num_channels = None if target.channel_axis is None else shape[target.channel_axis]
    index = _layer_of(net, layer, target.value)
    name: tuple[str, int | None] | None = (layer, None) if isinstance(layer, str) else layer
    if index is not None and layer is not None and not isinstance(layer, str | tuple):
        name = (net.layers[index].name, net.layers[index].call)
    return Place(index, name, target.axes, target.sizes, num_channels)


def check(name: str, value: Any, net: Trace, layer: Any, output_axes: tuple[int, ...] | None) -> Any:
    """A selection as it will be used: a layer as it is, a unit or pixel as a tuple of non-negative ints.

    Args:
        name: "layer", "unit", "channel" or "pixel".
        value: what was asked for; None is always allowed, and for a unit means the middle one.
        net: the trace.
        layer: the layer that a unit or channel belongs to.
        output_axes: as in `Trace.field`.

    Raises:
        TypeError: the wrong kind of thing.
        ValueError: it does not exist.
    """
    if name == "layer":
        place_of(net, value, output_axes)
        return tuple(value) if isinstance(value, list) else value
    if name == "pixel":
        return None if value is None else checked_position(name, value, net.input_sizes)
    if name == "channel":
        return net.target(layer, value, output_axes).channel
    sizes = place_of(net, layer, output_axes).sizes
    if 0 in sizes:
        raise ValueError(f"there are no units: the output's sizes along its axes of positions are {sizes}")
    return middle(sizes) if value is None else checked_position(name, value, sizes)


def existing(
    net: Trace, layer: Any, unit: Any, channel: Any, pixel: Any, output_axes: tuple[int, ...] | None
) -> tuple[Any, Any, Any, Any]:
    """The same layer, unit, channel and pixel, each None if it does not exist."""

    def allowed(name: str, value: Any) -> Any:
        try:
            return check(name, value, net, layer, output_axes)
        except (TypeError, ValueError):
            return None

    layer = allowed("layer", layer)
    return layer, allowed("unit", unit), allowed("channel", channel), allowed("pixel", pixel)


def middle(sizes: tuple[int, ...]) -> tuple[int, ...]:
    """The index in the middle of a grid."""
    return tuple(size // 2 for size in sizes)


def corresponding(unit: tuple[int, ...], sizes: tuple[int, ...], new_sizes: tuple[int, ...]) -> tuple[int, ...]:
    """The unit at the same place of the picture in a grid of other sizes; the middle one if the axes differ."""
    if len(unit) != len(new_sizes) or len(sizes) != len(new_sizes):
        return middle(new_sizes)
    return tuple((2 * at + 1) * new // (2 * old) for at, old, new in zip(unit, sizes, new_sizes, strict=True))


def _layer_of(net: Trace, layer: Any, value: Any) -> int | None:
    """The layer asked for by index or name, else the last one that gave this very output."""
    if layer is not None and not isinstance(layer, str | tuple):
        return int(layer) % len(net.layers)
    name, call = layer if isinstance(layer, tuple) else (layer, None)
    asked = [i for i, each in enumerate(net.layers) if each.name == name and call in (None, each.call)]
    same = [i for i in range(len(net.layers)) if net.target(i).value is value]
    return next(iter((asked or same)[-1:]), None)
