"""The pictures of ReceptiveFieldViewer: a layer's units, the input that they see, how much each pixel contributes."""

from typing import TYPE_CHECKING, Any

import ipywidgets

from dlwidgets.marks.field_map import FieldMap
from dlwidgets.marks.raster import Raster, raster_figure
from dlwidgets.marks.readout import Readout
from dlwidgets.widgets.arrays import count_nonfinite, to_plot
from dlwidgets.widgets.base import visible
from dlwidgets.widgets.receptive_field_words import describe_effective, describe_selection, times

if TYPE_CHECKING:
    from dlwidgets.compute.receptive_field import EffectiveField, Field
    from dlwidgets.compute.receptive_field.inspection import Look

HINT = "Move over a unit to see its pixels, or over the input to see who sees a pixel. Click pins, arrow keys move."


HEIGHT = "min(380px, 75vw)"
"""Of each figure: no empty bands above and below the square on a phone."""


class FieldPictures:
    """Made once; each ``show_...`` assigns what has changed.

    Attributes:
        map: what the browser looks hovers up in.
        units, input: the two linked pictures.
        heat: the effective field.
        heat_figure: its figure, which is in the box only while there is something to show.
        box: the figures side by side.
        readout: what is hovered or pinned, in words.
    """

    def __init__(self) -> None:
        self.map = FieldMap()
        self.units = Raster(linked=self.map, role="unit", report_hover=False)
        self.input = Raster(linked=self.map, role="input", report_hover=False)
        self.heat = Raster(report_hover=False)
        self._units_figure = raster_figure(self.units, title="Units")
        self._input_figure = raster_figure(self.input, title="Input")
        self.heat_figure = raster_figure(self.heat, title="Effective field")
        for figure in (self._units_figure, self._input_figure, self.heat_figure):
            figure.layout.height = HEIGHT
            figure.title_style = {"font-size": "14px"}
        self.readout = Readout(linked=self.map, text=HINT)
        self.box = ipywidgets.Box([self._units_figure, self._input_figure])
        self.box.add_class("dlw-row")

    def show_layer(self, look: "Look") -> None:
        """Another layer: its units, and which input positions each of them sees."""
        traits: dict[str, Any] = {
            "label": visible(look.title),
            "status": look.status,
            "because": visible(look.because),
            "windows": look.windows,
            "out_at": look.unit[:-2],
            "in_at": look.in_at,
        }
        if look.table is not None:
            self.map.show_products(look.table, look.sizes, look.input_sizes, **traits)
        else:
            self.map.show_boxes(look.boxes, look.sizes, look.input_sizes, **traits)
        picture = to_plot(look.picture, name="the layer's activations")
        num_bad = count_nonfinite(picture)
        bad = f", {num_bad} not finite" if num_bad else ""
        self.units.image = picture
        self._units_figure.title = f"{visible(look.title)}: {times(look.sizes)} units{bad}"
        self.input.image = look.input_picture
        self.input.outside = look.outside
        self._input_figure.title = f"input: {times(look.input_sizes)}"

    def show_selection(self, look: "Look", unit: Any, pixel: Any, field: "Field") -> None:
        """What is pinned."""
        self.units.selected = cell_of(unit)
        self.input.selected = [] if pixel is None else cell_of(pixel)
        words = describe_selection(look, unit, field)
        self.units.alt = f"The activations of {visible(look.title)}. {words}"
        self.input.alt = f"The model's input. {words}"

    def show_effective(self, look: "Look", field: "Field", effective: "EffectiveField", scale: str) -> str:
        """How much each position contributes, ``scale`` linear or log; the answer says it in words."""
        from dlwidgets.compute.receptive_field.inspection import contribution_picture, plane_box

        picture = contribution_picture(effective, look.in_at, scale == "log")
        self.heat.image = to_plot(picture, name="the contributions")
        self.heat.boxes = plane_box(field)
        words = describe_effective(effective, field)
        self.heat.alt = f"How much each position contributes, on a {scale} scale. {words}"
        self.heat_figure.title = f"effective field ({scale})"
        self.box.children = [self._units_figure, self._input_figure, self.heat_figure]
        return words

    def hide_effective(self) -> None:
        """Only the two linked pictures."""
        self.box.children = [self._units_figure, self._input_figure]


def cell_of(index: Any) -> list[int]:
    """The row and column at which a picture shows an index: of fewer axes the missing ones are 0, of more the last."""
    return [0, 0, *index][-2:]


def at_cell(cell: Any, leading: Any, num_axes: int) -> tuple[int, ...]:
    """The index of a picture's cell, for a picture that cuts at ``leading`` through the axes before the last two."""
    return tuple([*leading, *cell][-num_axes:]) if num_axes else ()
