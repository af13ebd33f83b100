"""Two in a row: dropouts one after the other, and the single one that they are."""

from typing import Any

import bqplot
import ipywidgets
import numpy as np
import traitlets

from dlwidgets.widgets.arrays import to_plot
from dlwidgets.widgets.dropout_figures import (
    BLUE,
    ORANGE,
    SKY,
    VERMILLION,
    Section,
    button,
    dots,
    figure,
    lines,
    number,
    slider,
)
from dlwidgets.widgets.keys import keyed

MAX_DROPOUTS = 6
NUM_UNITS = 20


class InARow(Section):
    """Sliders for the dropouts in a row; the histogram of how many units survive, in a row and with the single one.

    Attributes:
        result: the computed `InARow`, None until ready.
    """

    probabilities = traitlets.Any((0.1, 0.2), help="Of the dropouts in a row, one to six numbers from 0 to 1.")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        scales = {"x": bqplot.LinearScale(min=-0.5, max=NUM_UNITS + 0.5), "y": bqplot.LinearScale(min=0.0, max=1.0)}
        # One path for each histogram: they are drawn faster than twenty bars, and see-through they show each other.
        self._histograms = lines(scales, SKY, width=1.5, fill="bottom")
        self._histograms.colors = self._histograms.fill_colors = [SKY, ORANGE]
        self._histograms.fill_opacities = [0.45, 0.45]
        self._exact = dots(scales, BLUE, size=45)
        self._added = lines(scales, VERMILLION, dashed=True)
        self._figure = figure(
            [self._histograms, self._added, self._exact],
            f"units that survive, of {NUM_UNITS}",
            "share of the masks",
            y_format=".0%",
            x_ticks=range(0, NUM_UNITS + 1, 5),
            height=300,
        )
        self._sliders = [slider(f"p{index + 1}", 0.1) for index in range(MAX_DROPOUTS)]
        self._more = button("add one", "one more dropout in the row", "90px")
        self._fewer = button("remove one", "one dropout less in the row", "100px")
        self._row_of_sliders = ipywidgets.Box()
        self._row_of_sliders.add_class("dlw-dropout-controls")
        self._arrange(
            [self._row_of_sliders, self._more, self._fewer],
            keyed(
                self._figure,
                ("bar", SKY, "in a row, 1,000 masks"),
                ("bar", ORANGE, "the single one with q, 1,000 other masks"),
                ("dot", BLUE, "exact: binomial with 1 − q"),
                ("dashed", VERMILLION, "if q were the sum of the probabilities"),
            ),
        )
        for index, each in enumerate(self._sliders):
            self._own(each)
            self._label(each, f"Probability of dropout {index + 1}")
            each.observe(self._react(lambda change, index=index: self._on_slider(index, change["new"])), "value")
        self._label(self._more, "Add a dropout to the row")
        self._label(self._fewer, "Remove the last dropout of the row")
        self._label(self._figure, "How many units survive")
        self._more.on_click(self._react(lambda _: self._resize(0.1)))
        self._fewer.on_click(self._react(lambda _: self._resize(None)))
        self.observe(lambda _: self._follow(), "probabilities")
        self._follow()

    @traitlets.validate("probabilities")
    def _check_probabilities(self, proposal: Any) -> Any:
        from dlwidgets.compute.dropout.arguments import checked_probabilities

        chances = checked_probabilities(proposal["value"])
        if not 1 <= len(chances) <= MAX_DROPOUTS:
            raise ValueError(f"probabilities must hold 1 to {MAX_DROPOUTS} numbers, got {len(chances)}")
        return chances

    def _on_slider(self, index: int, value: float) -> None:
        if index < len(self.probabilities):
            self.probabilities = (*self.probabilities[:index], value, *self.probabilities[index + 1 :])

    def _resize(self, added: float | None) -> None:
        self.probabilities = self.probabilities[:-1] if added is None else (*self.probabilities, added)

    def _follow(self) -> None:
        from dlwidgets.compute.dropout.demonstrations import in_a_row

        shown = tuple(self._sliders[: len(self.probabilities)])
        if self._row_of_sliders.children != shown:
            self._row_of_sliders.children = shown
            self._more.disabled = len(shown) == MAX_DROPOUTS
            self._fewer.disabled = len(shown) == 1
        for each, value in zip(shown, self.probabilities, strict=True):
            each.value = value
        self._compute(in_a_row, self.probabilities, NUM_UNITS)

    def _render(self) -> None:
        row = self.result
        if row is None:
            return
        counts = to_plot(row.num_kept)
        self._histograms.x = np.repeat(counts, 2) + np.tile([-0.5, 0.5], len(counts))
        self._histograms.y = np.repeat(np.stack([to_plot(row.in_a_row), to_plot(row.single)]), 2, axis=1)
        self._exact.scales["y"].max = row.largest
        self._exact.x, self._exact.y = counts, to_plot(row.exact)
        possible = row.total <= 1
        self._added.visible = possible
        if possible:
            self._added.x, self._added.y = counts, to_plot(row.added)
        product = "".join(f"(1 − {value:.4g})" for value in self.probabilities)
        combined = row.combined
        scale = "nothing survives" if combined.probability == 1 else f"survivors are scaled by {combined.scale:.4f}"
        summed = "" if possible else ", which is more than 1 and cannot be a probability"
        self._words.value = (
            f"q = 1 − {product} = {number(combined.probability)}; {scale}. The sum of the probabilities would be "
            f"{number(row.total)}{summed}."
        )
