"""ReceptiveFieldViewer: move the mouse over a unit and see, on a photograph, exactly the pixels that it can see."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ipywidgets
import traitlets

from dlwidgets.widgets.assigning import Assigning
from dlwidgets.widgets.base import Exhibit, hide
from dlwidgets.widgets.receptive_field_pictures import FieldPictures, at_cell
from dlwidgets.widgets.receptive_field_strip import LayerStrip, unique
from dlwidgets.widgets.receptive_field_words import (
    BADGES,
    badge_of,
    describe_growth,
    describe_selection,
    times,
    verdict_of,
)

if TYPE_CHECKING:
    from dlwidgets.compute.receptive_field import EffectiveField, Field
    from dlwidgets.compute.receptive_field.example import Example
    from dlwidgets.compute.receptive_field.inspection import Inspection, Look
    from dlwidgets.widgets.receptive_field_editor import LayerStackViewer

SIZES = (32, 48, 64, 96, 128, 160, 192, 224, 256, 320, 384, 448, 512, 768, 1024)
"""Rows and columns that the input-size switch offers besides the example's own."""


MODES = {"as given": None, "train": True, "eval": False}

OUTPUT = ALL = -1
"""What the choices hold for the model's output and for all channels, because None would be no choice at all."""


class Selected(traitlets.TraitType[Any, Any]):
    """What is selected, or None. Unlike with ``allow_none``, None is checked too: it may stand for something."""

    default_value = None


class ReceptiveFieldViewer(Assigning, Exhibit):
    """Which pixels can each unit of a network see? Hover a unit to light them; hover a pixel to see who sees it.

    >>> viewer = ReceptiveFieldViewer(model, (1, 3, 224, 224))
    >>> viewer.layer, viewer.unit = "conv1", (3, 4)
    >>> viewer.field.box
    ((5, 12), (7, 14))

    The model is never touched: it is looked at through a second set of module objects around the same weights.

    Args:
        model: any ``torch.nn.Module``.
        example_or_image: what to run it on: a tensor, a tuple of positional arguments, a shape including batch, or
            an image (a path, a PIL image, an array); None for a photograph of 224 by 224.
        image: an image to show and to run on, resized to the example; default: a photograph, if the example is a shape.
        axes: the input axes that are positions; default all after batch and channel.
        output_axes: the same of the outputs; default as in `trace`.
        layer: the first selection, see the trait; so are ``unit``, ``channel`` and ``pixel``.
        inputs: a batch to average the effective field over; default the example.
        **kwargs: traits of the box, such as ``layout``.

    Attributes:
        result: the `Trace` of the model, None until ready (see `wait`).

    Raises:
        TypeError: something else for a model or an example, or an unknown keyword argument.
        ValueError: an image that cannot be read. A model that cannot run on the example says so in the widget.
    """

    layer = Selected(help="None (the output), an index, a name, or (name, call).")
    unit = Selected(help="One int an output axis; None becomes the middle one.")
    channel = Selected(help="One channel of the layer, or None for all together.")
    pixel = Selected(help="One int an input axis: the pinned pixel; None for none.")
    image = traitlets.Any(None, allow_none=True, help="The image shown, as a PIL image; None if the input is none.")

    def __init__(
        self,
        model: Any,
        example_or_image: Any = None,
        *,
        image: Any = None,
        axes: tuple[int, ...] | None = None,
        output_axes: tuple[int, ...] | None = None,
        layer: Any = None,
        unit: Any = None,
        channel: int | None = None,
        pixel: Any = None,
        inputs: Any = None,
        **kwargs: Any,
    ) -> None:
        from dlwidgets.compute.images import to_pil
        from dlwidgets.compute.receptive_field.example import read_example

        example = read_example(model, example_or_image, image)  # refuses bad input before any widget is made
        super().__init__(**kwargs)
        self._model, self._example = model, example
        self._axes, self._output_axes, self._inputs = axes, output_axes, inputs
        self._inspection: Inspection | None = None
        self._look: Look | None = None
        self._field: Field | None = None
        self._effective: EffectiveField | None = None
        self._drawn: tuple[Any, Any] = (None, None)
        self._build()
        self._assign(layer=layer, unit=unit, channel=channel, pixel=pixel, image=to_pil(example.image))
        self._inspect(strict=True)

    @classmethod
    def from_layers(cls, layers: Any, other: Any = None, **kwargs: Any) -> "LayerStackViewer":
        """A small network edited by hand, one row a layer; see `LayerStackViewer`."""
        from dlwidgets.widgets.receptive_field_editor import LayerStackViewer

        return LayerStackViewer(layers, other, **kwargs)

    @property
    def field(self) -> "Field | None":
        """What the selected unit sees: the `Field` of ``layer``, ``unit`` and ``channel``; None until ready."""
        if self.result is None or self.unit is None:
            return None
        return self.result.field(self.unit, layer=self.layer, channel=self.channel, output_axes=self._output_axes)

    def close(self) -> None:
        """Free every model it is made of and let go of the network; ``result`` stays."""
        super().close()
        self._model = self._inspection = self._look = self._effective = None
        self._drawn = (None, None)

    # Making the parts, once

    def _build(self) -> None:
        self._pictures = FieldPictures()
        self._pictures.map.on_query(self._on_query)
        self._strip = LayerStrip(self._react(self._on_bar))
        self._badge = ipywidgets.Label()
        self._grew = ipywidgets.Label()
        self._areas = ipywidgets.Label()
        for words in (self._grew, self._areas):
            words.add_class("dlw-words")
        self._layer_choice = ipywidgets.Dropdown(description="layer", layout={"width": "min(420px, 100%)"})
        self._channel_choice = ipywidgets.Dropdown(
            options=[("all together", ALL)], description="channel", layout={"width": "210px"}
        )
        self._mode_choice = ipywidgets.Dropdown(options=list(MODES), description="mode", layout={"width": "190px"})
        self._size_choice = ipywidgets.Dropdown(description="input size", layout={"width": "220px"})
        self._effective_choice = ipywidgets.ToggleButton(
            description="effective field",
            tooltip="how much each pixel contributes, with the model's own weights",
            layout={"width": "140px"},
        )
        self._scale_choice = ipywidgets.Dropdown(
            options=["linear", "log"], description="scale", layout={"width": "180px"}
        )
        self._fill_sizes()
        self._connect()
        controls, *self._parts = self._arranged()
        self.children = [*self._parts, controls]
        self._own(self._pictures.heat_figure)
        for widget, name in self._names():
            self._label(widget, name)
        hide(self._scale_choice, True)

    def _arranged(self) -> list[ipywidgets.Widget]:
        controls = ipywidgets.Box([widget for widget, _ in self._names()], layout={"flex_flow": "row wrap"})
        status = ipywidgets.Box([self._badge, self._grew], layout={"flex_flow": "row wrap"})
        for box in (controls, status):
            box.add_class("dlw-controls")
        self._badge.add_class("dlw-badge")
        return [controls, status, self._pictures.box, self._pictures.readout, self._areas, self._strip.box]

    def _names(self) -> list[tuple[ipywidgets.Widget, str]]:
        return [
            (self._layer_choice, "Layer"),
            (self._channel_choice, "Channel"),
            (self._mode_choice, "Train or eval mode"),
            (self._size_choice, "Input size"),
            (self._effective_choice, "Effective field"),
            (self._scale_choice, "Scale of the effective field"),
        ]

    def _connect(self) -> None:
        controls: list[tuple[ipywidgets.Widget, str, Callable[[Any], None]]] = [
            (self._layer_choice, "value", self._on_layer_choice),
            (self._channel_choice, "value", self._on_channel_choice),
            (self._mode_choice, "value", lambda _: self._inspect(strict=False)),
            (self._size_choice, "value", self._on_size_choice),
            (self._effective_choice, "value", self._on_effective_choice),
            (self._scale_choice, "value", lambda _: self._draw()),
            (self._pictures.units, "selected", self._on_unit_picked),
            (self._pictures.input, "selected", self._on_pixel_picked),
        ]
        for widget, name, handler in controls:
            widget.observe(self._react(self._unless_assigning(handler)), name)
        for name, handler in (
            ("layer", self._on_layer),
            ("channel", self._on_channel),
            ("unit", self._on_unit),
            ("pixel", self._on_pixel),
            ("image", self._on_image),
        ):
            self.observe(self._unless_assigning(handler), name)

    def _fill_sizes(self) -> None:
        own = self._example.sizes
        if own is None:
            hide(self._size_choice, True)
            return
        sizes = [own, *[(size, size) for size in SIZES if (size, size) != own]]
        self._size_choice.options = [(times(size), size) for size in sizes]
        self._size_choice.value = own

    # What a person or a script changes

    def _assign(self, **values: Any) -> None:
        with self._assigning():
            for name, value in values.items():
                setattr(self, name, value)

    @traitlets.validate("layer", "channel", "unit", "pixel")
    def _check_selection(self, proposal: Any) -> Any:
        name, value = proposal["trait"].name, proposal["value"]
        if self._assigns or self._inspection is None:
            return value
        from dlwidgets.compute.receptive_field.selection import check

        return check(name, value, self.result, self.layer, self._output_axes)

    @traitlets.validate("image")
    def _check_image(self, proposal: Any) -> Any:
        if self._assigns:
            return proposal["value"]
        from dlwidgets.compute.images import load_image, to_pil

        return to_pil(load_image(proposal["value"]))

    def _on_layer(self, change: Any) -> None:
        if self._inspection is None:
            self._inspect(strict=True)
            return
        from dlwidgets.compute.receptive_field.selection import corresponding, place_of

        before, now = (place_of(self.result, change[which], self._output_axes) for which in ("old", "new"))
        fits = self.channel is None or (now.num_channels is not None and self.channel < now.num_channels)
        try:
            unit = corresponding(self.unit, before.sizes, now.sizes)
            self._assign(unit=unit, channel=self.channel if fits else None)
        finally:  # also if somebody who is linked to the unit refuses it
            self._ask("look")

    def _on_channel(self, _: Any) -> None:
        if self._inspection is None:
            self._inspect(strict=True)
        else:
            self._ask("look")

    def _on_unit(self, _: Any) -> None:
        if self._inspection is None:
            self._inspect(strict=True)
        else:
            self._ask("see")

    def _on_pixel(self, _: Any) -> None:
        if self._inspection is None:
            self._inspect(strict=True)
        else:
            self._draw()

    def _on_image(self, change: Any) -> None:
        from dlwidgets.compute.images import load_image

        self._inspect(strict=False, example=self._example.with_image(load_image(change["new"])))

    def _on_layer_choice(self, change: Any) -> None:
        self.layer = None if change["new"] == OUTPUT else change["new"]

    def _on_bar(self, index: int) -> None:
        self.layer = index

    def _on_channel_choice(self, change: Any) -> None:
        self.channel = None if change["new"] == ALL else change["new"]

    def _on_size_choice(self, change: Any) -> None:
        self._inspect(strict=False, example=self._example.with_sizes(*change["new"]))

    def _on_effective_choice(self, change: Any) -> None:
        if change["new"]:
            self._ask_effective()
        else:
            self._stop()
            self._draw()

    def _on_unit_picked(self, change: Any) -> None:
        if change["new"] and self._look is not None:
            self.unit = at_cell(change["new"], self._pictures.map.out_at, len(self._look.sizes))

    def _on_pixel_picked(self, change: Any) -> None:
        fields = self._pictures.map
        self.pixel = at_cell(change["new"], fields.in_at, len(fields.in_shape)) if change["new"] else None

    # What is asked of the runner

    def _inspect(self, strict: bool, example: "Example | None" = None) -> None:
        from dlwidgets.compute.receptive_field import inspection
        from dlwidgets.compute.structure import structural_copy

        asked = self._selection
        self._compute(
            inspection.inspect,
            structural_copy(self._model, MODES[self._mode_choice.value]),
            self._example if example is None else example,
            axes=self._axes,
            output_axes=self._output_axes,
            layer=self.layer,
            unit=self.unit,
            channel=self.channel,
            pixel=self.pixel,
            strict=strict,
            then=lambda inspected: self._took_inspection(inspected[0], inspected[1], asked),
            failed=lambda _: self._on_refusal(),
        )

    def _ask(self, what: str) -> None:
        from dlwidgets.compute.receptive_field import inspection

        looking = what == "look"
        self._compute(
            inspection.look if looking else inspection.see,
            self._inspection,
            layer=self.layer,
            unit=self.unit,
            channel=self.channel,
            topic=what,
            then=self._took_look if looking else self._took_field,
        )

    def _ask_effective(self) -> None:
        from dlwidgets.compute.receptive_field import inspection
        from dlwidgets.compute.structure import structural_copy

        if self._look is None:
            return
        self._compute(
            inspection.effective,
            structural_copy(self._model, MODES[self._mode_choice.value]),
            [self._example.arguments] if self._inputs is None else self._inputs,
            self.unit,
            layer=self.layer,
            channel=self.channel,
            axes=self._axes,
            output_axes=self._output_axes,
            lane="long",
            topic="effective",
            then=self._took_effective,
        )

    def _on_query(self, role: str, index: tuple[int, ...]) -> None:
        """Have the runner answer a hover that the browser cannot answer itself."""
        from dlwidgets.compute.receptive_field import inspection

        generation = self._pictures.map.generation

        def answer(mask: Any) -> None:
            self._pictures.map.answer(role, index, mask, generation)

        self._compute(
            inspection.answer,
            self._inspection,
            role,
            index,
            layer=None if self._look is None else self._look.layer,
            channel=None if self._look is None else self._look.channel,
            topic="query",
            then=answer,
            failed=lambda _: answer(None),
        )

    # What the runner answers

    @property
    def _selection(self) -> tuple[Any, Any, Any, Any]:
        return self.layer, self.unit, self.channel, self.pixel

    def _took_inspection(self, inspection: "Inspection", look: "Look", asked: tuple[Any, Any, Any, Any]) -> None:
        from dlwidgets.compute.images import to_pil
        from dlwidgets.compute.receptive_field.selection import existing

        self._inspection, self._example = inspection, inspection.example
        self.result = inspection.net
        self._assign(image=to_pil(inspection.example.image))
        if self._selection == asked:
            self._assign(layer=inspection.layer, unit=look.unit, channel=look.channel, pixel=inspection.pixel)
        else:  # somebody selected something else meanwhile: that comes next, if it exists here
            layer, unit, channel, pixel = existing(inspection.net, *self._selection, self._output_axes)
            self._assign(layer=layer, unit=unit, channel=channel, pixel=pixel)
            self._ask("look")
        self._took_look(look)

    def _took_look(self, look: "Look") -> None:
        self._look = look
        self._took_field(look.field)

    def _took_field(self, field: "Field") -> None:
        self._field, self._effective = field, None
        if self._effective_choice.value:
            self._ask_effective()

    def _took_effective(self, effective: "EffectiveField") -> None:
        self._effective = effective

    def _on_refusal(self) -> None:
        """What was asked for cannot be shown: the controls say again what is, and nothing empty is shown."""
        self._hide_parts(self._look is None)
        if self._example.sizes is not None:
            with self._assigning():
                self._size_choice.value = self._example.sizes

    # Drawing

    def _hide_parts(self, hidden: bool) -> None:
        """With nothing to show, only the mode and the size are left to be chosen."""
        for widget in (*self._parts, self._layer_choice, self._channel_choice, self._effective_choice):
            hide(widget, hidden)

    def _render(self) -> None:
        if self._inspection is None or self._look is None or self._field is None:
            return
        with self._assigning():
            self._hide_parts(False)
            if self._drawn != (self._inspection, self._look):
                self._render_layer(self._inspection, self._look)
                self._drawn = (self._inspection, self._look)
            self._pictures.show_selection(self._look, self.unit, self.pixel, self._field)
            self._render_badge(self._field)
            if self._effective is not None and self._effective_choice.value:
                scale = self._scale_choice.value
                self._areas.value = self._pictures.show_effective(self._look, self._field, self._effective, scale)
            else:
                self._areas.value = ""
                self._pictures.hide_effective()
            hide(self._scale_choice, not self._areas.value)

    def _render_layer(self, inspection: "Inspection", look: "Look") -> None:
        if self._drawn[0] is not inspection:
            names, growth = inspection.names, inspection.growth
            choices = [*zip(unique(names), range(len(names)), strict=True), ("output", OUTPUT)]
            self._layer_choice.options = choices
            self._strip.show(names, growth.size, growth.jump, growth.exceeds)
            self._grew.value = describe_growth(inspection)
            self._label(self._strip.figure, "Layers of the network", self._grew.value)
        self._pictures.show_layer(look)
        self._strip.select(look.index)
        self._layer_choice.value = OUTPUT if look.layer is None or look.index is None else look.index
        channels = [("all together", ALL), *[(str(channel), channel) for channel in range(look.num_channels or 0)]]
        if len(self._channel_choice.options) != len(channels):
            self._channel_choice.options = channels
        self._channel_choice.value = ALL if look.channel is None else look.channel

    def _render_badge(self, field: "Field") -> None:
        self._badge.value = badge_of(field)
        verdict = verdict_of(field)
        for name, style in BADGES.items():
            (self._badge.add_class if name == verdict else self._badge.remove_class)(style)

    def _describe(self) -> str:
        if self._inspection is None or self._look is None or self._field is None:
            return "Receptive fields: nothing computed yet."
        about = (
            f"Receptive fields of a network of {len(self._inspection.names)} layers on an input of "
            f"{times(self._look.input_sizes)}."
        )
        selection = describe_selection(self._look, self.unit, self._field)
        return " ".join(part for part in (about, self._grew.value, selection, self._areas.value) if part)
