"""A plain filter beside a residual one, both trained on the same target near the identity."""

from typing import Any

import ipywidgets
import traitlets

from dlwidgets.marks.cell_readout import CellReadout
from dlwidgets.marks.palette import diverging_scale
from dlwidgets.marks.raster import Raster, raster_figure
from dlwidgets.widgets.arrays import to_plot
from dlwidgets.widgets.base import Exhibit
from dlwidgets.widgets.gradient_flow_charts import BLUE, VERMILLION, side_by_side, words_label
from dlwidgets.widgets.gradient_flow_words import describe_filters
from dlwidgets.widgets.keys import keyed

TITLES = {"plain": "plain: y = f(x)", "residual": "residual: y = f(x) + x", "difference": "plain − residual"}

FULL_COLOUR = 1.2
"""The weight at which a colour is fullest."""


class FilterComparison(Exhibit):
    """Trains y = f(x) and y = f(x) + x, f one convolution, and shows both filters: they differ by the identity.

    Pictures of another distance than the chosen one are not shown.

    Attributes:
        result: the `ResidualFilters`, None until they are trained.
    """

    closeness = traitlets.Float(0.1, min=0.0, max=1.0, help="How far the target is from the identity.")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_class("dlw-flow")
        self._slider = ipywidgets.FloatSlider(
            self.closeness,
            min=0.0,
            max=1.0,
            step=0.05,
            description="distance",
            layout={"width": "min(340px, 100%)"},
        )
        self._button = ipywidgets.Button(description="train both filters", layout={"width": "150px"})
        self._words = words_label()
        self._words.value = (
            "A plain convolution y = f(x) beside a residual one y = f(x) + x, on the same target: the identity plus "
            "noise of the chosen distance."
        )
        self._pictures = {
            name: Raster(scales={"color": diverging_scale(min=-FULL_COLOUR, max=FULL_COLOUR)}) for name in TITLES
        }
        figures = [raster_figure(self._pictures[name], title=title, height=220) for name, title in TITLES.items()]
        self._readouts = {
            name: CellReadout(raster=raster, quantity="weight", text="Point at a weight for its number.")
            for name, raster in self._pictures.items()
        }
        panels = [ipywidgets.VBox([figure, self._readouts[name]]) for name, figure in zip(TITLES, figures, strict=True)]
        for figure, panel in zip(figures, panels, strict=True):
            figure.layout.min_width, panel.layout.flex = "180px", "1 1 220px"
            figure.title_style = {"font-size": "14px"}
            figure.padding_x = figure.padding_y = 0.03  # the outline lies around the picture
        signs = keyed(side_by_side(*panels), ("bar", BLUE, "negative"), ("bar", VERMILLION, "positive"))
        self._row = self._own(signs)
        controls = ipywidgets.Box([self._button, self._slider])
        controls.add_class("dlw-flow-controls")
        self._label(self._slider, "Distance of the target from the identity")
        for figure in figures:
            self._label(figure, figure.title)
        self._slider.observe(self._react(lambda change: setattr(self, "closeness", change["new"])), "value")
        self.observe(lambda _: self._on_closeness(), "closeness")
        self._button.on_click(self._react(lambda _: self.train()))
        self.children = [controls, self._words]

    def train(self) -> None:
        """Train both in the background, as the button does."""
        from dlwidgets.compute.gradient_flow import residual_against_plain

        self._compute(residual_against_plain, closeness=self.closeness, lane="long", topic="filters")

    def _on_closeness(self) -> None:
        self._slider.value = self.closeness
        self._draw()

    def _render(self) -> None:
        filters = self.result
        if filters is None:
            return
        chosen = filters.closeness == self.closeness
        self._row.layout.display = None if chosen else "none"
        if not chosen:
            self._words.value = (
                f"These filters were trained for the distance {filters.closeness:g}: press “train both filters” "
                f"for {self.closeness:g}."
            )
            return
        from dlwidgets.compute.gradient_flow.picture import filter_pictures, tile_boxes, tile_names

        self.children = [*self.children[:2], self._row]
        for name, picture in filter_pictures(filters).items():
            self._pictures[name].image = to_plot(picture, name=name)
            self._pictures[name].boxes = to_plot(tile_boxes(filters))
            self._readouts[name].rows = tile_names("output", picture.shape[0], filters)
            self._readouts[name].columns = tile_names("input", picture.shape[1], filters)
        self._words.value = f"{describe_filters(filters)} Full colour is a weight of ±{FULL_COLOUR:g}."

    def _describe(self) -> str:
        return self._words.value
