"""Does it help?: training and validation curves of small networks for several dropout probabilities."""

from typing import Any

import bqplot
import ipywidgets
import numpy as np
import traitlets

from dlwidgets.widgets.arrays import to_plot
from dlwidgets.widgets.base import hide
from dlwidgets.widgets.dropout_figures import (
    ORANGE,
    SKY,
    Section,
    button,
    dots,
    figure,
    lines,
    number,
    side_by_side,
)
from dlwidgets.widgets.keys import keyed

START = (
    "Small networks learn 150 of scikit-learn's digits, five times for each of seven probabilities, and are tested on "
    "the other 1,647. Press 'train'; it takes some seconds."
)


class DoesItHelp(Section):
    """The experiment, started by a button.

    Attributes:
        result: the `Curves`, None until trained.
    """

    choice = traitlets.Int(3, min=0, max=6, help="Which of the probabilities the curves along training are of.")

    def __init__(self, **kwargs: Any) -> None:
        from dlwidgets.compute.dropout.report import SWEPT

        super().__init__(**kwargs)
        accuracy = bqplot.LinearScale(min=0, max=1)
        ticks = np.linspace(0, 1, 6)
        along = {"x": bqplot.LinearScale(min=0), "y": accuracy}
        self._train, self._validation = lines(along, SKY), lines(along, ORANGE)
        self._curves = figure(
            [self._train, self._validation],
            "epoch",
            "accuracy",
            y_format=".0%",
            x_ticks=(0, 50, 100, 150),
            y_ticks=ticks,
        )
        across = {"x": bqplot.LinearScale(min=0, max=1), "y": accuracy}
        self._final_train, self._final_validation = lines(across, SKY), lines(across, ORANGE)
        self._dots_train, self._dots_validation = dots(across, SKY), dots(across, ORANGE)
        self._gaps = figure(
            [self._final_train, self._final_validation, self._dots_train, self._dots_validation],
            "p",
            "accuracy at the end",
            y_format=".0%",
            x_ticks=ticks,
            y_ticks=ticks,
        )
        self._start = button("train", "train the networks", "90px")
        self._pick = ipywidgets.SelectionSlider(
            options=[(number(p), index) for index, p in enumerate(SWEPT)],
            value=self.choice,
            description="curves of p =",
            disabled=True,
            style={"description_width": "88px"},
            layout={"width": "min(320px, 100%)"},
        )
        self._panels = side_by_side(
            keyed(self._curves, ("line", SKY, "training"), ("line", ORANGE, "validation")),
            keyed(self._gaps, ("dot", SKY, "training"), ("dot", ORANGE, "validation; their distance is overfitting")),
        )
        hide(self._panels, True)
        self._arrange([self._start, self._pick], self._panels)
        self._words.value = START
        self._bind(self._pick, "choice", "Probability whose curves are shown")
        self._label(self._start, "Train the networks")
        self._label(self._curves, "Accuracy along training")
        self._label(self._gaps, "Accuracy at the end against p")
        self._start.on_click(self._react(lambda _: self.train()))
        self.observe(lambda _: self._draw(), "choice")

    def train(self) -> None:
        """Start the experiment, or start it again."""
        from dlwidgets.compute.dropout.report import swept

        self._compute(swept, lane="long", topic="sweep")

    def _render(self) -> None:
        curves = self.result
        if curves is None:
            return
        chances, epoch = to_plot(curves.probabilities), to_plot(curves.epoch)
        self._pick.disabled = False
        hide(self._panels, False)
        for mark, y in ((self._train, curves.train), (self._validation, curves.validation)):
            mark.x, mark.y = epoch, to_plot(y[self.choice])
        for line, points, y in (
            (self._final_train, self._dots_train, curves.final_train),
            (self._final_validation, self._dots_validation, curves.final_validation),
        ):
            for mark in (line, points):
                mark.x, mark.y = chances, to_plot(y)
        self._words.value = describe(curves, self.choice)


def describe(curves: Any, choice: int) -> str:
    """Where the chosen probability ends, and where no dropout does."""

    def end(index: int) -> str:
        train, validation = float(curves.final_train[index]), float(curves.final_validation[index])
        gap, error = float(curves.gap[index]), float(curves.gap_error[index])
        return (
            f"p = {number(float(curves.probabilities[index]))}: {train:.1%} right in training, {validation:.1%} on new "
            f"digits, a gap of {gap:.1%} ± {error:.1%}"
        )

    ends = end(choice) if choice == 0 else f"{end(choice)}; {end(0)}"
    return f"{ends} (means of {curves.num_seeds} seeds, ± standard error).".replace("-", "−")
