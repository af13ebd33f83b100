"""How the gradient of a shared parameter is split over the calls of its module."""

from typing import TYPE_CHECKING

import ipywidgets
import numpy as np

from dlwidgets.widgets.base import visible
from dlwidgets.widgets.gradient_flow_charts import BLUE, VERMILLION, Chart, put
from dlwidgets.widgets.gradient_flow_words import number
from dlwidgets.widgets.keys import keyed, show_keys

if TYPE_CHECKING:
    from dlwidgets.compute.gradient_flow import GradientFlow

PICKED = {"fill": VERMILLION, "stroke": VERMILLION, "stroke-width": "3"}


class CallShares:
    """Dots on a log axis, one a call; hidden while no parameter is shared.

    Attributes:
        chart: its figure and scales.
        dots: can be clicked; ``positions`` says which position each dot is.
        box: the figure with its key.
    """

    def __init__(self) -> None:
        self.chart = Chart("gradient norm by call", "call", log=True)
        self.dots = self.chart.dots(BLUE, size=64, selected_style=PICKED)
        self.positions: tuple[int, ...] = ()
        self.box: ipywidgets.Box = keyed(
            self.chart.figure, ("dot", BLUE, "gradient by call"), ("dot", VERMILLION, "the position picked")
        )
        self.box.add_class("dlw-hidden")

    def show(self, flow: "GradientFlow", position: int | None, row: int) -> None:
        """The parameter that ``position`` shares with other calls, or else the first shared one."""
        from dlwidgets.compute.gradient_flow.picture import decades, index_ticks, log_curve, powers_of_ten, shared_at

        shared = shared_at(flow, position)
        if shared is None:
            self.box.add_class("dlw-hidden")
            return
        self.box.remove_class("dlw-hidden")
        curve = log_curve(shared.gradient_norm[row])
        low, high = decades(shared.gradient_norm)
        calls = curve.x.long().tolist()
        self.positions = tuple(shared.positions[call] for call in calls)
        key, _ = self.box.children[1].children
        key.value = f"norm of what each call adds to the gradient of {visible(shared.parameter)}"
        self.chart.limit(low, high, powers_of_ten(low, high))
        self.chart.span(-0.5, len(shared.positions) - 0.5)
        self.chart.number(index_ticks(len(shared.positions)))
        names = [
            f"call {call}: norm {number(float(shared.gradient_norm[row, call]))}, "
            f"{number(float(shared.share[row, call]))} of the sum of squares"
            for call in calls
        ]
        self.dots.names = np.array(names, dtype=str)
        put(self.dots, curve)
        picked = position in self.positions
        self.dots.selected = [self.positions.index(position)] if picked else None
        show_keys(self.box, True, picked)
