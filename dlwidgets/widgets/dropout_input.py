"""The input beside its prediction: a picture, a signal or bars."""

from typing import Any

import bqplot
import ipywidgets
import numpy as np

from dlwidgets.marks.raster import Raster
from dlwidgets.widgets.arrays import to_plot
from dlwidgets.widgets.base import hide
from dlwidgets.widgets.dropout_figures import BLUE, GREEN, ORANGE, figure, lines, picture

HEIGHT = 280


class InputPanel:
    """Two figures in a box, of which one is seen: a picture, or lines and bars.

    Attributes:
        box: what to show; hidden where there is nothing to draw.
        picture, plot: the figures.
    """

    def __init__(self) -> None:
        self.raster = Raster(report_hover=False)
        self.picture = picture(self.raster, HEIGHT)
        scales = {"x": bqplot.LinearScale(), "y": bqplot.LinearScale()}
        self.lines = lines(scales, BLUE, width=1.5)
        self.lines.colors = [BLUE, ORANGE, GREEN]
        self.bars = bqplot.Bars(x=np.zeros(1), y=np.zeros(1), scales=scales, colors=[BLUE], padding=0.25)
        self.plot = figure([self.lines, self.bars], "position in the input", "value", height=HEIGHT)
        self.words = ipywidgets.Label()
        self.words.add_class("dlw-key")
        self.box = ipywidgets.VBox([self.picture, self.plot, self.words])
        self.box.add_class("dlw-keyed")

    def show(self, drawn: Any, number: int) -> None:
        """Draw an `InputDrawn`, or hide everything for None; ``number`` is the input's, counted from 1."""
        hide(self.box, drawn is None)
        if drawn is None:
            return
        values = to_plot(drawn.values)
        hide(self.picture, drawn.kind != "image")
        hide(self.plot, drawn.kind == "image")
        note = f" ({drawn.note})" if drawn.note else ""
        self.words.value = f"input {number}{note}"
        if drawn.kind == "image":
            self.raster.image = values
            self.raster.alt = f"Input {number}, {values.shape[0]} by {values.shape[1]}"
            return
        self.lines.visible, self.bars.visible = drawn.kind == "line", drawn.kind == "bars"
        x, y = np.arange(values.shape[1]), np.squeeze(values, 0) if len(values) == 1 else values
        seen, other = (self.lines, self.bars) if drawn.kind == "line" else (self.bars, self.lines)
        seen.x, seen.y = x, y
        # the unseen mark counts for the axes too: a single bar would widen them without limit
        other.x, other.y = x, y if values.shape[0] == 1 else y[0]
