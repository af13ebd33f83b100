"""What the colours of a heat map stand for."""

from typing import TYPE_CHECKING

import bqplot
import ipywidgets

from dlwidgets.marks.raster import Raster
from dlwidgets.widgets.arrays import to_plot
from dlwidgets.widgets.gradient_flow_charts import relabel

if TYPE_CHECKING:
    from torch import Tensor


class ColorBar:
    """A strip of all colours with its numbers, to stand below a heat map; hidden while that has no range.

    Attributes:
        figure: the strip.
    """

    def __init__(self) -> None:
        self._strip = Raster(square=False, report_hover=False)
        self._axis = bqplot.Axis(scale=self._strip.scales["x"], grid_lines="none")
        self.figure = bqplot.Figure(
            marks=[self._strip],
            axes=[self._axis],
            fig_margin={"top": 2, "bottom": 24, "left": 56, "right": 24},
            padding_x=0,
            padding_y=0,
            title="Colours of the heat map",  # for assistive technology
            title_style={"display": "none"},
            display_toolbar=False,
            layout=ipywidgets.Layout(width="auto", min_width="240px", height="42px"),
        )
        self.figure.add_class("dlw-hidden")

    def show(self, image: "Tensor", quantity: str, logarithmic: bool) -> None:
        """The range of ``image``; if ``logarithmic``, its numbers are powers of ten."""
        from dlwidgets.compute.gradient_flow.picture import color_bar

        bar = color_bar(image, logarithmic)
        if bar is None:
            self.figure.add_class("dlw-hidden")
            return
        self.figure.remove_class("dlw-hidden")
        self._strip.image = to_plot(bar.strip, name="colour bar")
        relabel(self._axis, bar.at, bar.labels)
        self._strip.alt = f"Colours of {quantity}: " + ", ".join(bar.labels)
