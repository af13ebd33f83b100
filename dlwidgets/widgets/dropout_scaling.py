"""Scaling: why survivors are multiplied by 1 / (1 - p), and what it costs."""

from typing import Any

import bqplot
import ipywidgets
import numpy as np
import traitlets

from dlwidgets.widgets.arrays import to_plot
from dlwidgets.widgets.dropout_figures import (
    GREEN,
    ORANGE,
    SKY,
    Probability,
    Section,
    dots,
    figure,
    lines,
    number,
    side_by_side,
    slider,
)
from dlwidgets.widgets.keys import keyed


class Scaling(Section):
    """The mean and the variance of one unit's output against p, with the factor or without.

    Attributes:
        result: the computed `Scaling`, None until ready.
    """

    probability = Probability(0.5, help="Of dropping the unit, from 0 to 1.")
    scaled = traitlets.Bool(True, help="Whether survivors are multiplied by 1 / (1 - p).")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        across = bqplot.LinearScale(min=0, max=1)
        of_mean = {"x": across, "y": bqplot.LinearScale(min=0, max=1.5)}
        self._eval = lines(of_mean, GREEN, dashed=True, width=3)
        self._train = lines(of_mean, SKY, width=3)
        self._mean_bar, self._mean_dot = lines(of_mean, ORANGE), dots(of_mean, ORANGE, size=90)
        of_variance = {"x": across, "y": bqplot.LinearScale(min=0)}
        self._variance = lines(of_variance, SKY, width=3)
        self._variance_bar, self._variance_dot = lines(of_variance, ORANGE), dots(of_variance, ORANGE, size=90)
        ticks = np.linspace(0, 1, 6)
        self._means = figure(
            [self._train, self._eval, self._mean_bar, self._mean_dot],
            "p",
            "mean output",
            x_ticks=ticks,
            y_ticks=(0, 0.5, 1, 1.5),
        )
        self._variances = figure(
            [self._variance, self._variance_bar, self._variance_dot], "p", "variance of the output", x_ticks=ticks
        )
        chance = slider("p", 0.5)
        switch = ipywidgets.Checkbox(
            value=True, description="scale survivors by 1/(1 − p)", indent=False, layout={"width": "220px"}
        )
        sampled = ("dot", ORANGE, "estimate from 100 masks, ± 2 standard errors")
        self._arrange(
            [chance, switch],
            side_by_side(
                keyed(self._means, ("line", SKY, "training: exact mean"), ("dashed", GREEN, "eval output"), sampled),
                keyed(self._variances, ("line", SKY, "training: exact variance; in eval mode there is none"), sampled),
            ),
        )
        self._bind(chance, "probability", "Probability of dropping the unit")
        self._bind(switch, "scaled", "Scale survivors by 1/(1 − p)")
        self._label(self._means, "Mean output in training and in eval mode against p")
        self._label(self._variances, "Variance that dropout adds against p")
        self.observe(lambda _: self._ask(), ["probability", "scaled"])
        self._ask()

    def _ask(self) -> None:
        from dlwidgets.compute.dropout.demonstrations import scaling

        self._compute(scaling, self.probability, self.scaled)

    def _render(self) -> None:
        shown = self.result
        if shown is None:
            return
        grid = to_plot(shown.probabilities)
        self._train.x, self._train.y = grid, to_plot(shown.means)
        self._eval.x, self._eval.y = grid[[0, -1]], np.full(2, shown.eval_output)
        self._variance.x, self._variance.y = grid, to_plot(shown.variances)
        self._variance.scales["y"].max = shown.largest_variance
        for bar, dot, value, low, high in (
            (self._mean_bar, self._mean_dot, shown.sampled_mean, *shown.mean_interval),
            (self._variance_bar, self._variance_dot, shown.sampled_variance, *shown.variance_interval),
        ):
            bar.x, bar.y = np.full(2, self.probability), np.array([low, high])
            dot.x, dot.y = np.array([self.probability]), np.array([value])
        means = "together" if shown.agrees else "apart"
        self._words.value = (
            f"{'With' if self.scaled else 'Without'} the factor, training and eval means are {means}: "
            f"{number(shown.mean)} and {number(shown.eval_output)}. Variance at p = {number(self.probability)}: "
            f"{number(shown.variance)} = {'x² p/(1 − p)' if self.scaled else 'x² p (1 − p)'}."
        )
