"""The pictures of GradientFlowMeter: gradients by position and through time, activations, updates, losses."""

from typing import TYPE_CHECKING

import bqplot
import ipywidgets
import numpy as np

from dlwidgets.marks.cell_readout import CellReadout
from dlwidgets.marks.raster import Raster
from dlwidgets.widgets.arrays import to_plot
from dlwidgets.widgets.gradient_flow_calls import CallShares
from dlwidgets.widgets.gradient_flow_charts import (
    BLUE,
    GREEN,
    ORANGE,
    SKY,
    VERMILLION,
    Chart,
    put,
    put_hints,
    side_by_side,
    words_label,
)
from dlwidgets.widgets.gradient_flow_color_bar import ColorBar
from dlwidgets.widgets.gradient_flow_words import FUNCTIONAL, HINT, describe_parameters, number, position_names
from dlwidgets.widgets.keys import keyed, show_keys

if TYPE_CHECKING:
    from dlwidgets.compute.gradient_flow import GradientFlow

MAX_DOTS = 400
"""Above so many positions a profile is only a line: as many SVG circles would be slow."""

SELECTED = {"fill": VERMILLION, "stroke": VERMILLION, "stroke-width": "3"}
OUTLINED = {"stroke": "currentColor", "stroke-width": "2"}


class FlowPictures:
    """Made once; each ``show_...`` assigns what has changed.

    Attributes:
        heat: the picture of positions by sampled steps.
        readout: what its hovered or pinned cell holds.
        profile_dots, ratio_dots: points that can be clicked, by position and by parameter.
        calls: the gradient of a shared parameter by call.
        top, below: the pictures that are pointed at, and those that answer.
    """

    def __init__(self) -> None:
        self.heat = Raster(square=False)
        self.readout = CellReadout(raster=self.heat, text=HINT)
        self.color_bar = ColorBar()
        self._columns: list[int] = []
        self._column_axis = bqplot.Axis(
            scale=self.heat.scales["x"], grid_lines="none", label="step (those sampled)", label_offset="2.4em"
        )
        self._row_axis = bqplot.Axis(
            scale=self.heat.scales["y"], orientation="vertical", grid_lines="none", label="position", label_offset="3em"
        )
        self.heat_figure = bqplot.Figure(
            marks=[self.heat],
            axes=[self._column_axis, self._row_axis],
            fig_margin={"top": 38, "bottom": 44, "left": 56, "right": 24},
            padding_x=0,
            padding_y=0,
            title_style={"font-size": "14px"},
            display_toolbar=False,
            layout=ipywidgets.Layout(width="auto", min_width="240px", height="270px"),
        )
        self._profile = Chart("gradient norms", "position, input to output", log=True, height=270)
        self._profile_line = self._profile.line(BLUE)
        self.profile_dots = self._profile.dots(BLUE, selected_style=SELECTED)
        self._profile_missing = self._profile.dots(VERMILLION, marker="triangle-down", size=50)
        self.calls = CallShares()
        self._history = Chart("gradient norm by step", "step", log=True)
        self._history_line, self._history_hints = self._history.line(BLUE), self._history.hints()
        self._loss = Chart("loss", "step", tick_format="~g")
        self._loss_line, self._loss_hints = self._loss.line(GREEN), self._loss.hints()
        self._activations = Chart("activations", "position")
        self._mean = self._activations.line(BLUE)
        self._std = self._activations.line(ORANGE)
        self._activation_hints = self._activations.hints()
        self._fractions = Chart("shares of activations", "position", tick_format=".0%")
        self._fractions.limit(0.0, 1.0, (0.0, 0.25, 0.5, 0.75, 1.0))
        self._zeros = self._fractions.line(SKY)
        self._saturated = self._fractions.line(VERMILLION)
        self._dead = self._fractions.line(GREEN, dashed=True)
        self._fraction_hints = self._fractions.hints()
        self._ratios = Chart("update / weight", "parameter", log=True)
        self._healthy = self._ratios.band(GREEN)
        self.ratio_dots = self._ratios.dots(BLUE, selected_style=SELECTED)
        self._ratio_missing = self._ratios.dots(VERMILLION, marker="triangle-down", size=50, selected_style=OUTLINED)
        self._history_keyed = keyed(self._history.figure, ("line", BLUE, "no position yet"))
        missing = ("falling", VERMILLION, "0 or not finite")
        self._profile_keyed = keyed(self._profile.figure, missing)
        self._ratios_keyed = keyed(self._ratios.figure, ("band", GREEN, "healthy, about 1e-3"), missing)
        self._fractions_keyed = keyed(
            self._fractions.figure,
            ("line", SKY, "exact zeros"),
            ("line", VERMILLION, "saturated"),
            ("dashed", GREEN, "dead units"),
        )
        self._parameters, functional = words_label(), words_label()
        functional.value = FUNCTIONAL
        heat = ipywidgets.VBox([self.heat_figure, self.color_bar.figure])
        self.top = ipywidgets.VBox([side_by_side(self._profile_keyed, keyed(heat)), self.readout, functional])
        self.below = ipywidgets.VBox(
            [
                side_by_side(self._history_keyed, self.calls.box),
                side_by_side(self._ratios_keyed, keyed(self._loss.figure)),
                self._parameters,
                side_by_side(
                    keyed(self._activations.figure, ("line", BLUE, "mean"), ("line", ORANGE, "standard deviation")),
                    self._fractions_keyed,
                ),
            ]
        )

    def names(self) -> list[tuple[ipywidgets.Widget, str]]:
        """Every figure with its name."""
        charts = (
            *(self._profile, self._history, self.calls.chart, self._ratios, self._loss),
            *(self._activations, self._fractions),
        )
        heat = [(self.heat_figure, "Heat map"), (self.color_bar.figure, "Colours of the heat map")]
        return [*heat, *((chart.figure, chart.figure.title) for chart in charts)]

    @property
    def columns(self) -> list[int]:
        """Which rows of the result's tables the heat map shows as columns."""
        return self._columns

    def show_heat(self, flow: "GradientFlow", quantity: str) -> None:
        """The heat map of a quantity of `picture.QUANTITIES`."""
        from dlwidgets.compute.gradient_flow.picture import QUANTITIES, drawn_steps, heat_map, index_ticks

        self._columns = drawn_steps(flow)
        logarithmic = QUANTITIES[quantity].logarithmic
        image = heat_map(flow, quantity, self._columns)
        self.heat.image = to_plot(image, name=quantity)
        self.color_bar.show(image, quantity, logarithmic)
        steps = flow.steps[self._columns].tolist()
        at = sorted({round(i * (len(steps) - 1) / 4) for i in range(5)})
        self._column_axis.tick_labels = {str(column + 0.5): str(steps[column]) for column in at}
        self._column_axis.tick_values = np.array([column + 0.5 for column in at])
        self.heat_figure.title = f"{quantity}{' (log10)' if logarithmic else ''}"
        self._row_axis.tick_labels = {str(i + 0.5): str(i) for i in index_ticks(len(flow.positions))}
        self._row_axis.tick_values = np.array(index_ticks(len(flow.positions))) + 0.5
        self.readout.rows = position_names(flow)
        self.readout.columns = [f"step {step}" for step in steps]
        self.readout.quantity, self.readout.logarithmic = quantity, logarithmic

    def show_step(self, flow: "GradientFlow", row: int) -> None:
        """Everything about one sampled step."""
        from dlwidgets.compute.gradient_flow.picture import (
            decades,
            index_ticks,
            linear_curve,
            log_curve,
            powers_of_ten,
            round_ticks,
        )

        names = position_names(flow)
        step = int(flow.steps[row])
        gradient = log_curve(flow.gradient_norm[row])
        low, high = decades(flow.gradient_norm)
        self._profile.limit(low, high, powers_of_ten(low, high))
        self._profile.figure.title = f"gradient norms, step {step:,}"
        put(self._profile_line, gradient)
        where = gradient.x.long().tolist()
        dots = where[:MAX_DOTS]
        self.profile_dots.names = np.array(
            [f"{i}: {names[i]}, gradient norm {number(float(flow.gradient_norm[row, i]))}" for i in dots], dtype=str
        )
        self.profile_dots.x, self.profile_dots.y = to_plot(gradient.x[: len(dots)]), to_plot(gradient.y[: len(dots)])
        self._show_missing(self._profile_missing, gradient.missing.tolist(), low, flow.gradient_norm[row], names)
        for chart in (self._profile, self._activations, self._fractions):
            chart.number(index_ticks(len(names)))
        mean, std = linear_curve(flow.activation_mean[row]), linear_curve(flow.activation_std[row])
        low, high = min(mean.low, std.low), max(mean.high, std.high)
        self._activations.limit(low, high, round_ticks(low, high, 5))
        put(self._mean, mean)
        put(self._std, std)
        zeros, saturated = linear_curve(flow.zero_fraction[row]), linear_curve(flow.saturated_fraction[row])
        dead = linear_curve(flow.dead_fraction[row])
        put(self._zeros, zeros)
        put(self._saturated, saturated)
        put(self._dead, dead)
        show_keys(self._profile_keyed, len(gradient.missing) > 0)
        show_keys(self._fractions_keyed, *(len(curve.x) > 0 for curve in (zeros, saturated, dead)))
        if len(names) <= MAX_DOTS:

            def say(i: int) -> str:
                return f"{i}: {names[i]}"

            put_hints(self._activation_hints, say, (mean, "mean"), (std, "standard deviation"))
            shares = ((zeros, "zeros"), (saturated, "saturated"), (dead, "dead units"))
            put_hints(self._fraction_hints, say, *shares)
        self._show_ratios(flow, row)

    def _show_ratios(self, flow: "GradientFlow", row: int) -> None:
        from dlwidgets.compute.gradient_flow.picture import HEALTHY, decades, index_ticks, log_curve, powers_of_ten

        ratios = flow.update_ratio[row]
        curve = log_curve(ratios)
        low, high = decades(flow.update_ratio, ratios.new_tensor(HEALTHY))
        self._ratios.limit(low, high, powers_of_ten(low, high))
        names = [f"{i}: {name}, update/weight" for i, name in enumerate(flow.parameters)]
        at = curve.x.long().tolist()
        self.ratio_dots.names = np.array([f"{names[i]} {number(float(ratios[i]))}" for i in at], dtype=str)
        put(self.ratio_dots, curve)
        self._show_missing(self._ratio_missing, curve.missing.tolist(), low, ratios, names)
        show_keys(self._ratios_keyed, True, len(curve.missing) > 0)
        self._parameters.value = describe_parameters(flow)
        width = len(flow.parameters) - 0.5
        self._ratios.number(index_ticks(len(names)))
        self._healthy.x = np.array([-0.5, width], dtype=np.float32)
        self._healthy.y = np.array([[HEALTHY[0]] * 2, [HEALTHY[1]] * 2], dtype=np.float32)

    def _show_missing(self, mark: bqplot.Scatter, at: list, low: float, values: object, names: list[str]) -> None:
        mark.names = np.array([f"{names[int(i)]}: {number(float(values[int(i)]))}" for i in at], dtype=str)  # type: ignore[index]
        mark.x = np.array(at, dtype=np.float32)
        mark.y = np.full(len(at), low, dtype=np.float32)

    def show_history(self, flow: "GradientFlow", position: int | None) -> None:
        """One position's gradient norm through time (the first one's if none is given), and the logged loss."""
        from dlwidgets.compute.gradient_flow.picture import history_curve, loss_curve, round_ticks

        shown = 0 if position is None else position
        curve = history_curve(flow, shown)
        self._history.limit(curve.low, curve.high, curve.ticks)
        self._history_keyed.children[1].children[0].value = position_names(flow)[shown]  # a title would be cut off
        put(self._history_line, curve)
        put_hints(self._history_hints, lambda step: f"step {step:,}", (curve, "gradient norm"))
        self._history.number(round_ticks(0, int(flow.steps[-1]), 5))
        if not len(flow.loss):
            self._loss.figure.title = "loss: none logged"
            return
        loss = loss_curve(flow)
        self._loss.figure.title = "loss"
        self._loss.limit(loss.low, loss.high, round_ticks(loss.low, loss.high, 5))
        self._loss.number(round_ticks(0, int(flow.loss_steps[-1]), 5))
        put(self._loss_line, loss)
        put_hints(self._loss_hints, lambda step: f"step {step:,}", (loss, "loss"))

    def select(self, position: int | None, row: int, rows: list[int], parameters: list[int]) -> None:
        """Mark the selected position and step, and the rows of a finding."""
        from dlwidgets.compute.gradient_flow.picture import column_at

        self.heat.selected = [] if position is None else [position, column_at(self._columns, row)]
        width = len(self._columns)
        self.heat.boxes = np.array([[r, 0, r + 1, width] for r in rows], dtype=np.int32) if rows else None
        self.profile_dots.selected = _indices(self.profile_dots.x, [] if position is None else [position])
        for mark in (self.ratio_dots, self._ratio_missing):
            mark.selected = _indices(mark.x, parameters)


def _indices(x: np.ndarray, wanted: list[int]) -> np.ndarray | None:
    """Where in the points ``x`` the wanted columns are."""
    found = np.flatnonzero(np.isin(x, wanted))
    return found if len(found) else None
