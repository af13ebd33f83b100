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
    PINK,
    SELECTED,
    SKY,
    VERMILLION,
    Chart,
    Rims,
    indices,
    not_finite,
    put,
    put_hints,
    put_line_or_dots,
    relabel,
    side_by_side,
    words_label,
)
from dlwidgets.widgets.gradient_flow_color_bar import ColorBar
from dlwidgets.widgets.gradient_flow_parameters import ParameterChart
from dlwidgets.widgets.gradient_flow_words import FUNCTIONAL, HINT, NORMS, number, position_names
from dlwidgets.widgets.keys import keyed, show_keys

if TYPE_CHECKING:
    from dlwidgets.compute.gradient_flow import GradientFlow

MAX_DOTS = 400
"""Above so many positions a profile is only a line: as many SVG circles would be slow."""

AT_OUTPUT = "norm of dL/d(output)"
"""Of what a position's gradient norm is the norm; a title so long would be cut off on a phone."""

HATCHED = {False: "no number: point there for why", True: "0 or no number: point there for why"}
"""What the hatched cells of a heat map are, by whether its numbers are logarithms."""


class FlowPictures:
    """Made once; each ``show_...`` assigns what has changed.

    Attributes:
        heat: the picture of positions by sampled steps.
        readout: what its hovered or pinned cell holds.
        profile_dots: points that can be clicked, by position.
        parameters: updates, gradients or weights by parameter.
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
        self._profile = Chart("gradient norms", "position, input to output", y_label=AT_OUTPUT, log=True, height=270)
        self._profile_line = self._profile.line(BLUE)
        self.profile_dots = self._profile.dots(BLUE, selected_style=SELECTED)
        self._profile_rims = Rims(self._profile)
        self.calls = CallShares()
        self._history = Chart("gradient norm by step", "step", y_label=AT_OUTPUT, log=True)
        self._history_line, self._history_dots = self._history.line(BLUE), self._history.dots(BLUE)
        self._history_hints = self._history.hints()
        self._history_rims = Rims(self._history)
        self._loss = Chart("loss", "step")
        self._loss_line, self._loss_dots = self._loss.line(GREEN), self._loss.dots(GREEN)
        self._loss_hints = self._loss.hints()
        self._loss_missing = self._loss.dots(VERMILLION, marker="triangle-up", size=50)
        self._activations = Chart("activations", "position")
        self._mean = self._activations.line(BLUE)
        self._std = self._activations.line(ORANGE)
        self._activation_hints = self._activations.hints()
        self._fractions = Chart("shares of activations", "position", tick_format=".0%")
        self._fractions.limit(0.0, 1.0, (0.0, 0.25, 0.5, 0.75, 1.0))
        self._zeros = self._fractions.line(SKY), self._fractions.dots(SKY)
        self._saturated = self._fractions.line(VERMILLION), self._fractions.dots(VERMILLION)
        self._dead = self._fractions.line(GREEN, dashed=True), self._fractions.dots(GREEN)
        self._fraction_hints = self._fractions.hints()
        self.parameters = ParameterChart()
        self._history_keyed = keyed(self._history.figure, ("line", BLUE, "no position yet"), *Rims.KEYS)
        self._loss_keyed = keyed(self._loss.figure, Rims.KEYS[1])
        self._profile_keyed = keyed(self._profile.figure, *Rims.KEYS)
        self._fractions_keyed = keyed(
            self._fractions.figure,
            *(("line", SKY, "exact zeros"), ("dot", SKY, "exact zeros")),
            *(("line", VERMILLION, "saturated"), ("dot", VERMILLION, "saturated")),
            *(("dashed", GREEN, "dead units"), ("dot", GREEN, "dead units")),
        )
        self._activations_keyed = keyed(
            self._activations.figure, ("line", BLUE, "mean"), ("line", ORANGE, "standard deviation")
        )
        meaning = words_label()
        meaning.value = f"{NORMS} {FUNCTIONAL}"
        heat = ipywidgets.VBox([self.heat_figure, self.color_bar.figure])
        self._heat_keyed = keyed(heat, ("hatch", PINK, HATCHED[False]))
        self.top = ipywidgets.VBox([side_by_side(self._profile_keyed, self._heat_keyed), self.readout, meaning])
        self.below = ipywidgets.VBox(
            [
                side_by_side(self._history_keyed, self.calls.box),
                self.parameters.choice,
                side_by_side(self.parameters.keyed, self._loss_keyed),
                self.parameters.words,
                side_by_side(
                    self._activations_keyed,
                    self._fractions_keyed,
                ),
            ]
        )

    def names(self) -> list[tuple[ipywidgets.Widget, str]]:
        """Every figure with its name."""
        charts = (
            *(self._profile, self._history, self.calls.chart, self._loss),
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
        from dlwidgets.compute.gradient_flow.picture import (
            QUANTITIES,
            REASONS,
            drawn_steps,
            heat_map,
            index_ticks,
            why_missing,
        )

        self._columns = drawn_steps(flow)
        logarithmic = QUANTITIES[quantity].logarithmic
        image = heat_map(flow, quantity, self._columns)
        self.heat.image = to_plot(image, name=quantity)
        self.color_bar.show(image, quantity, logarithmic)
        self._heat_keyed.children[1].children[0].value = HATCHED[logarithmic]
        show_keys(self._heat_keyed, not bool(image.isfinite().all()))
        steps = flow.steps[self._columns].tolist()
        at = sorted({round(i * (len(steps) - 1) / 4) for i in range(5)})
        relabel(self._column_axis, [column + 0.5 for column in at], [str(steps[column]) for column in at])
        self.heat_figure.title = f"{quantity}{' (log10)' if logarithmic else ''}"
        rows = index_ticks(len(flow.positions))
        relabel(self._row_axis, [i + 0.5 for i in rows], [str(i) for i in rows])
        self.readout.rows = position_names(flow)
        self.readout.columns = [f"step {step}" for step in steps]
        self.readout.quantity, self.readout.logarithmic = quantity, logarithmic
        self.readout.missing = to_plot(why_missing(flow, quantity, self._columns))
        self.readout.reasons = [reason.format(quantity) for reason in REASONS]

    def show_step(self, flow: "GradientFlow", row: int) -> None:
        """Everything about one sampled step."""
        from dlwidgets.compute.gradient_flow.picture import (
            SHARES,
            activation_shares,
            decades,
            gradient_overflowed,
            index_ticks,
            linear_curve,
            log_curve,
            powers_of_ten,
            round_ticks,
        )

        names = position_names(flow)
        step = int(flow.steps[row])
        gradient, values = log_curve(flow.gradient_norm[row]), flow.gradient_norm[row].tolist()
        low, high = decades(flow.gradient_norm)
        zero, lost = flow.gradient_norm == 0, gradient_overflowed(flow)
        self._profile_rims.limit(low, high, powers_of_ten(low, high), zeros=bool(zero.any()), lost=bool(lost.any()))
        self._profile.figure.title = f"gradient norms, step {step:,}"
        put(self._profile_line, gradient)
        where = gradient.x.long().tolist()
        dots = where[:MAX_DOTS]
        self.profile_dots.names = np.array(
            [f"{i}: {names[i]}, gradient norm {number(float(flow.gradient_norm[row, i]))}" for i in dots], dtype=str
        )
        self.profile_dots.x, self.profile_dots.y = to_plot(gradient.x[: len(dots)]), to_plot(gradient.y[: len(dots)])
        self._profile_rims.show(
            zero[row].nonzero().flatten().tolist(),
            lost[row].nonzero().flatten().tolist(),
            lambda i, is_zero: f"{i}: {names[i]}, gradient norm {0 if is_zero else not_finite(values[i])}",
        )
        for chart in (self._profile, self._activations, self._fractions):
            chart.span(0.0, max(len(names) - 1, 1))
            chart.number(index_ticks(len(names)))
        mean, std = linear_curve(flow.activation_mean[row]), linear_curve(flow.activation_std[row])
        low, high = min(mean.low, std.low), max(mean.high, std.high)
        self._activations.limit(low, high, round_ticks(low, high, 5))
        put(self._mean, mean)
        put(self._std, std)
        show_keys(self._activations_keyed, *(len(curve.x) > 0 for curve in (mean, std)))
        self._activations.figure.title = "activations" if len(mean.x) else "activations: none finite"
        zeros, saturated, dead = (linear_curve(activation_shares(flow, field)[row]) for field in SHARES)
        shown = []
        for marks, curve in ((self._zeros, zeros), (self._saturated, saturated), (self._dead, dead)):
            scattered = put_line_or_dots(*marks, curve)
            shown += [len(curve.x) > 0 and not scattered, scattered]
        show_keys(self._profile_keyed, *self._profile_rims.shown)
        show_keys(self._fractions_keyed, *shown)
        if len(names) <= MAX_DOTS:

            def say(i: int) -> str:
                return f"{i}: {names[i]}"

            put_hints(self._activation_hints, say, (mean, "mean"), (std, "standard deviation"))
            shares = ((zeros, "zeros"), (saturated, "saturated"), (dead, "dead units"))
            put_hints(self._fraction_hints, say, *shares)

    def show_history(self, flow: "GradientFlow", position: int | None) -> None:
        """One position's gradient norm through time (the first one's if none is given), and the logged loss."""
        from dlwidgets.compute.gradient_flow.picture import history_curve, loss_curve, round_ticks

        shown = 0 if position is None else position
        curve = history_curve(flow, shown)
        last = int(flow.steps[-1])
        self._history_rims.limit(
            curve.low, curve.high, curve.ticks, zeros=len(curve.zero) > 0, lost=len(curve.missing) > 0
        )
        self._history_keyed.children[1].children[0].value = position_names(flow)[shown]  # a title would be cut off
        self._show_steps(self._history, last)
        put(self._history_line, curve)
        put(self._history_dots, curve.where(curve.lone))
        put_hints(self._history_hints, lambda step: f"step {step:,}", (curve, "gradient norm"))
        self._history_rims.show(
            curve.zero.tolist(),
            curve.missing.tolist(),
            lambda step, is_zero: f"step {step:,}: gradient norm {0 if is_zero else 'not finite'}",
        )
        show_keys(self._history_keyed, True, *self._history_rims.shown)
        self._loss.figure.title = "loss" if len(flow.loss) else "loss: none logged"
        loss = loss_curve(flow)
        low, high = loss.low, loss.high
        if low == high:  # a point in the middle
            low, high = low - (abs(low) or 1.0), high + (abs(high) or 1.0)
        self._loss.limit(low, high, round_ticks(low, high, 5))
        self._show_steps(self._loss, int(flow.loss_steps[-1]) if len(flow.loss) else last)
        put(self._loss_line, loss)
        put(self._loss_dots, loss.where(loss.lone))
        put_hints(self._loss_hints, lambda step: f"step {step:,}", (loss, "loss"))
        self._loss_missing.names = np.array(
            [f"step {int(step):,}: loss not finite" for step in loss.missing], dtype=str
        )
        self._loss_missing.x = to_plot(loss.missing)
        self._loss_missing.y = np.full(len(loss.missing), high, dtype=np.float32)  # at the top
        show_keys(self._loss_keyed, len(loss.missing) > 0)

    def _show_steps(self, chart: Chart, last: int) -> None:
        from dlwidgets.compute.gradient_flow.picture import index_ticks

        chart.span(0.0, max(last, 1))
        chart.number(index_ticks(max(last, 1) + 1, 5))

    def select(self, position: int | None, row: int, rows: list[int], parameters: list[int]) -> None:
        """Mark the selected position and step, and the rows of a finding."""
        from dlwidgets.compute.gradient_flow.picture import column_at, row_boxes

        self.heat.selected = [] if position is None else [position, column_at(self._columns, row)]
        self.heat.boxes = np.array(row_boxes(rows, len(self._columns)), dtype=np.int32) if rows else None
        self.profile_dots.selected = indices(self.profile_dots.x, [] if position is None else [position])
        self.parameters.select(parameters)
