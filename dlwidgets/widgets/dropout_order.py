"""Before or after: the same mask before an activation and after it."""

from typing import Any

import bqplot
import ipywidgets
import numpy as np
import traitlets

from dlwidgets.widgets.arrays import to_plot
from dlwidgets.widgets.dropout_figures import (
    ORANGE,
    SKY,
    VERMILLION,
    Probability,
    Section,
    button,
    figure,
    lines,
    number,
    path_of_crosses,
    path_of_dots,
    side_by_side,
    slider,
)
from dlwidgets.widgets.keys import keyed

CHOICES = {
    "ReLU": "relu",
    "leaky ReLU": "leaky_relu",
    "GELU": "gelu",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "identity": "identity",
}


class BeforeOrAfter(Section):
    """Dropout before and after an activation with the same mask, their difference and their exact means.

    Attributes:
        result: the `Orders`, None until ready.
    """

    activation = traitlets.Enum(list(CHOICES.values()), "sigmoid", help="Its name in `ACTIVATIONS`.")
    probability = Probability(0.5, help="Of dropping a unit, from 0 to 1.")
    seed = traitlets.Int(0, help="Of the mask.")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        scales = {"x": bqplot.LinearScale(min=-3, max=3), "y": bqplot.LinearScale()}
        self._after, self._before = lines(scales, SKY, width=9), lines(scales, ORANGE, width=2)
        self._mean_after, self._mean_before = lines(scales, SKY), lines(scales, ORANGE, dashed=True)
        self._outputs = figure(
            [self._mean_after, self._mean_before, self._after, self._before],
            "what a unit receives, x",
            "output",
            x_ticks=range(-3, 4),
        )
        apart = {"x": scales["x"], "y": bqplot.LinearScale()}
        self._stems = lines(apart, VERMILLION, width=4)
        self._difference = figure([self._stems], "what a unit receives, x", "before − after", x_ticks=range(-3, 4))
        kind = ipywidgets.Dropdown(
            options=list(CHOICES.items()),
            value="sigmoid",
            description="activation",
            style={"description_width": "66px"},
            layout={"width": "200px"},
        )
        chance = slider("p", 0.5)
        again = button("resample", "draw another mask")
        self._arrange(
            [kind, chance, again],
            side_by_side(
                keyed(
                    self._outputs,
                    ("dot", SKY, "dropout after the activation"),
                    ("cross", ORANGE, "before it, same mask"),
                    ("line", SKY, "exact mean, after: the eval output"),
                    ("dashed", ORANGE, "exact mean, before"),
                ),
                keyed(self._difference, ("bar", VERMILLION, "difference of the two outputs, unit by unit")),
            ),
        )
        self._bind(kind, "activation", "Activation")
        self._bind(chance, "probability", "Probability of dropping a unit")
        self._label(again, "Draw another mask")
        self._label(self._outputs, "Outputs with dropout before and after the activation")
        self._label(self._difference, "Difference between the two orders")
        again.on_click(self._react(lambda _: setattr(self, "seed", self.seed + 1)))
        self.observe(lambda _: self._ask(), ["activation", "probability", "seed"])
        self._ask()

    def _ask(self) -> None:
        from dlwidgets.compute.dropout.demonstrations import both_orders

        self._compute(both_orders, self.activation, self.probability, seed=self.seed)

    def _render(self) -> None:
        orders = self.result
        if orders is None:
            return
        x = to_plot(orders.x)
        self._after.x, self._after.y = path_of_dots(x, to_plot(orders.after))
        low, high = orders.output_range
        self._before.x, self._before.y = path_of_crosses(x, to_plot(orders.before), 0.12, 0.03 * (high - low))
        for mark, y in ((self._mean_after, orders.mean_after), (self._mean_before, orders.mean_before)):
            mark.x, mark.y = x, to_plot(y)
        difference = to_plot(orders.difference)
        # One line from tip to tip by way of zero: one path is drawn faster than one for each stem.
        self._stems.x = np.repeat(x, 3)
        self._stems.y = np.stack([np.zeros_like(difference), difference, np.zeros_like(difference)], 1).ravel()
        for mark, (low, high) in ((self._after, orders.output_range), (self._stems, orders.difference_range)):
            scale = mark.scales["y"]
            scale.min, scale.max = low, high
        name = next(name for name, value in CHOICES.items() if value == self.activation)
        if orders.same:
            self._words.value = (
                f"{name}: no difference, for this mask or any other. f(c·x) = c·f(x) for c ≥ 0, so the mask and the "
                "factor 1/(1 − p) pass through it."
            )
        else:
            dropped = (
                f"A dropped unit becomes f(0) = {number(orders.dropped_before)} instead of 0. "
                if orders.dropped_before != 0
                else "A dropped unit is 0 either way. "
            )
            self._words.value = (
                f"{name}: the order matters, by up to {number(orders.largest_difference)}. {dropped}"
                "A survivor's factor 1/(1 − p) lands inside the activation, so that the mean over masks (dashed) "
                "leaves the eval output."
            )
