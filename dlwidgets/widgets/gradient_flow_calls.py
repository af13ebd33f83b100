"""How the gradient of a shared parameter is split over the calls of its module."""

from typing import TYPE_CHECKING

import bqplot
import ipywidgets
import numpy as np

from dlwidgets.widgets.arrays import to_plot
from dlwidgets.widgets.base import visible
from dlwidgets.widgets.gradient_flow_charts import BLUE, VERMILLION, Chart
from dlwidgets.widgets.keys import keyed, show_keys

if TYPE_CHECKING:
    from dlwidgets.compute.gradient_flow import GradientFlow


class CallShares:
    """Bars on a log axis, one a call; hidden while no parameter is shared.

    Attributes:
        chart: its figure and scales.
        bars: can be clicked; ``positions`` says which position each bar is.
        box: the figure with its key.
    """

    def __init__(self) -> None:
        self.chart = Chart("gradient by call", "call", log=True)
        self.bars = bqplot.Bars(
            x=np.zeros(0),
            y=np.zeros(0),
            scales=self.chart.scales,
            colors=[BLUE],
            padding=0.2,
            base=0.1,
            selected_style={"fill": VERMILLION, "stroke": VERMILLION},
            tooltip=bqplot.Tooltip(fields=["x", "y"], labels=["call", "share"], formats=["d", ".3e"]),
        )
        self.chart.figure.marks = [self.bars]
        self.positions: tuple[int, ...] = ()
        self.box: ipywidgets.Box = keyed(
            self.chart.figure, ("bar", BLUE, "share of the gradient"), ("bar", VERMILLION, "the position picked")
        )
        self.box.add_class("dlw-hidden")

    def show(self, flow: "GradientFlow", position: int | None, row: int) -> None:
        """The parameter that ``position`` shares with other calls, or else the first shared one."""
        from dlwidgets.compute.gradient_flow.picture import index_ticks, log_curve, shared_at

        shared = shared_at(flow, position)
        if shared is None:
            self.box.add_class("dlw-hidden")
            return
        self.box.remove_class("dlw-hidden")
        curve = log_curve(shared.share[row])
        calls = curve.x.long().tolist()
        self.positions = tuple(shared.positions[call] for call in calls)
        self.box.children[1].children[0].value = f"share of {visible(shared.parameter)}'s gradient"
        self.chart.limit(curve.low, 1.0, curve.ticks)
        self.chart.number(index_ticks(len(shared.positions)))
        self.bars.base = curve.low
        self.bars.x, self.bars.y = to_plot(curve.x), to_plot(curve.y)
        picked = position in self.positions
        self.bars.selected = [self.positions.index(position)] if picked else None
        show_keys(self.box, True, picked)
