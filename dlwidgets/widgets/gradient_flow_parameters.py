"""What each parameter did in one step: its update, its gradient, its weights."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import ipywidgets
import numpy as np

from dlwidgets.widgets.arrays import to_plot
from dlwidgets.widgets.gradient_flow_charts import (
    BLUE,
    GREEN,
    SELECTED,
    Chart,
    Rims,
    indices,
    not_finite,
    put,
    words_label,
)
from dlwidgets.widgets.gradient_flow_words import describe_parameters, number
from dlwidgets.widgets.keys import keyed, show_keys

if TYPE_CHECKING:
    from dlwidgets.compute.gradient_flow import GradientFlow

OUTLINED = {"stroke": "currentColor", "stroke-width": "2"}


class ParameterChart:
    """Dots on a log axis, one a parameter; the healthy band is drawn with the ratio it is about only.

    Attributes:
        chart: its figure and scales.
        dots: the parameters that a log axis can show.
        rims: those that it cannot.
        choice: which quantity is shown, a key of `picture.PARAMETER_QUANTITIES`.
        keyed: the figure with its key.
        words: which parameter each number is.
    """

    def __init__(self) -> None:
        from dlwidgets.compute.gradient_flow.picture import PARAMETER_QUANTITIES

        self.chart = Chart("update / weight", "parameter", log=True)
        self._healthy = self.chart.band(GREEN)
        self.dots = self.chart.dots(BLUE, selected_style=SELECTED)
        self.rims = Rims(self.chart, selected_style=OUTLINED)
        self.choice = ipywidgets.Dropdown(
            options=list(PARAMETER_QUANTITIES),
            description="parameters",
            style={"description_width": "initial"},  # an exported page has larger letters
            layout={"width": "230px"},
        )
        self.keyed = keyed(self.chart.figure, ("band", GREEN, "healthy, about 1e-3"), *Rims.KEYS)
        self.words = words_label()

    def show(self, flow: "GradientFlow", quantity: str, row: int) -> None:
        """A quantity of `picture.PARAMETER_QUANTITIES` in one sampled step."""
        from dlwidgets.compute.gradient_flow.picture import (
            HEALTHY,
            PARAMETER_QUANTITIES,
            decades,
            index_ticks,
            log_curve,
            parameter_lost,
            powers_of_ten,
        )

        field = PARAMETER_QUANTITIES[quantity]
        table, is_ratio = getattr(flow, field), field == "update_ratio"
        values = table[row]
        curve = log_curve(values)
        low, high = decades(table, values.new_tensor(HEALTHY if is_ratio else ()))
        zero, lost = table == 0, parameter_lost(flow, field)
        self.rims.limit(low, high, powers_of_ten(low, high), zeros=bool(zero.any()), lost=bool(lost.any()))
        self.chart.ruler.label = "norm of dL/d(parameter)" if quantity == "gradient norm" else ""
        self.chart.figure.title = f"{quantity}, step {int(flow.steps[row]):,}"  # a phone shows no longer one
        said = "update/weight" if is_ratio else quantity
        names = [f"{i}: {name}, {said}" for i, name in enumerate(flow.parameters)]
        drawn = curve.x.long().tolist()
        self.dots.names = np.array([f"{names[i]} {number(float(values[i]))}" for i in drawn], dtype=str)
        put(self.dots, curve)
        self.rims.show(
            zero[row].nonzero().flatten().tolist(),
            lost[row].nonzero().flatten().tolist(),
            lambda i, is_zero: f"{names[i]} {0 if is_zero else not_finite(float(values[i]))}",
        )
        width = len(names) - 0.5
        self.chart.span(-0.5, width)
        self.chart.number(index_ticks(len(names)))
        ends = [-0.5, width] if is_ratio else []
        self._healthy.x, self._healthy.y = to_plot(ends), to_plot([[edge] * len(ends) for edge in HEALTHY])
        show_keys(self.keyed, is_ratio, *self.rims.shown)
        self.words.value = describe_parameters(flow)

    def select(self, parameters: Sequence[int]) -> None:
        """Mark the parameters of a finding."""
        for mark in (self.dots, self.rims.zeros, self.rims.lost):
            mark.selected = indices(mark.x, parameters)
