"""The kinds of figure that GradientFlowMeter and its laboratory are drawn with."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import bqplot
import ipywidgets
import numpy as np

from dlwidgets.marks.palette import OKABE_ITO
from dlwidgets.widgets.arrays import to_plot
from dlwidgets.widgets.gradient_flow_words import number
from dlwidgets.widgets.keys import GREY

if TYPE_CHECKING:
    from dlwidgets.compute.gradient_flow.picture import Curve

ORANGE, SKY, GREEN, _, BLUE, VERMILLION, PINK, _ = OKABE_ITO

SELECTED = {"fill": VERMILLION, "stroke": VERMILLION, "stroke-width": "3"}
"""How a point looks that was picked."""


class Chart:
    """A figure with one x axis and one y axis, which may be logarithmic.

    Attributes:
        scales: shared by all marks.
        figure: the figure.
    """

    def __init__(
        self,
        title: str,
        x_label: str,
        *,
        y_label: str = "",
        log: bool = False,
        height: int = 230,
        tick_format: str | None = None,
    ) -> None:
        self.scales: dict[str, Any] = {
            "x": bqplot.LinearScale(),
            "y": bqplot.LogScale(min=0.1, max=1.0) if log else bqplot.LinearScale(),
        }
        # bqplot guesses a format from the ticks, and fails where there are none yet
        self.ruler = bqplot.Axis(
            scale=self.scales["y"],
            orientation="vertical",
            tick_format=tick_format or (".0e" if log else ".4~g"),
            label=y_label,
            label_offset="3.6em",
        )
        self.floor = bqplot.Axis(
            scale=self.scales["x"], label=x_label, label_offset="2.4em", grid_lines="none", tick_format=",d"
        )
        self.figure = bqplot.Figure(
            title=title,
            axes=[self.floor, self.ruler],
            fig_margin={"top": 34, "bottom": 44, "left": 64, "right": 14},
            padding_x=0.02,
            padding_y=0.03,
            title_style={"font-size": "14px"},
            display_toolbar=False,
            layout=ipywidgets.Layout(width="auto", min_width="240px", height=f"{height}px"),
        )

    def line(self, color: str, *, dashed: bool = False, width: float = 2.0, **kwargs: Any) -> Any:
        """Add a line without points so far."""
        return self._add(
            bqplot.Lines(
                x=np.zeros(0),
                y=np.zeros(0),
                scales=self.scales,
                colors=[color],
                stroke_width=width,
                line_style="dashed" if dashed else "solid",
                **kwargs,
            )
        )

    def band(self, color: str) -> Any:
        """Add the area between two lines."""
        return self._add(
            bqplot.Lines(
                x=np.zeros(0),
                y=np.zeros((2, 0)),
                scales=self.scales,
                colors=[color],
                fill="between",
                fill_colors=[color],
                fill_opacities=[0.2],
                stroke_width=0,
                opacities=[0.0],
            )
        )

    def dots(self, color: str, *, marker: str = "circle", size: int = 36, **kwargs: Any) -> Any:
        """Add points, none so far; their names are what a hover says."""
        return self._add(
            bqplot.Scatter(
                x=np.zeros(0),
                y=np.zeros(0),
                scales=self.scales,
                colors=[color],
                marker=marker,
                default_size=size,
                display_names=False,
                tooltip=bqplot.Tooltip(fields=["name"], labels=[""], show_labels=False),
                **kwargs,
            )
        )

    def hints(self) -> Any:
        """Add points that appear under the mouse only, to say the exact numbers of a line; none so far."""
        return self.dots(GREY, size=80, opacities=[0.0], hovered_style={"opacity": "1"}, stroke=GREY)

    def limit(self, low: float, high: float, ticks: Sequence[float]) -> None:
        """Fix what y shows, and where it is numbered."""
        self.scales["y"].min, self.scales["y"].max = low, high
        self.ruler.tick_values = np.array(ticks, dtype=np.float64)

    def span(self, low: float, high: float) -> None:
        """Fix what x shows."""
        self.scales["x"].min, self.scales["x"].max = low, high

    def number(self, ticks: Sequence[float]) -> None:
        """Where x is numbered."""
        self.floor.tick_values = np.array(ticks, dtype=np.float64)

    def _add(self, mark: Any) -> Any:
        self.figure.marks = [*self.figure.marks, mark]
        return mark


def put(mark: Any, curve: "Curve") -> None:
    """Give a line or points the coordinates of a curve."""
    mark.x, mark.y = to_plot(curve.x), to_plot(curve.y)


class Rims:
    """What a log axis cannot hold: exact zeros below its lowest number, what is not finite above its highest.

    Attributes:
        zeros, lost: the marks of both.
    """

    KEYS = (("falling", VERMILLION, "0"), ("rising", VERMILLION, "not finite"))
    """For `keyed`; `shown` says which of them are drawn."""

    def __init__(self, chart: Chart, **kwargs: Any) -> None:
        self._chart = chart
        self.zeros = chart.dots(VERMILLION, marker="triangle-down", size=50, **kwargs)
        self.lost = chart.dots(VERMILLION, marker="triangle-up", size=50, **kwargs)

    @property
    def shown(self) -> tuple[bool, bool]:
        """Whether there is any of either."""
        return len(self.zeros.x) > 0, len(self.lost.x) > 0

    def limit(self, low: float, high: float, ticks: Sequence[float], *, zeros: bool, lost: bool) -> None:
        """As `Chart.limit`, with room for either if there is any."""
        from dlwidgets.compute.gradient_flow.picture import with_rims

        self._chart.limit(*with_rims(low, high, zeros, lost), ticks)

    def show(self, zeros: Sequence[float], lost: Sequence[float], say: Callable[[int, bool], str]) -> None:
        """Mark these x; ``say`` is the name of one, and is told whether it is 0."""
        scale = self._chart.scales["y"]
        for mark, at, y, is_zero in ((self.zeros, zeros, scale.min, True), (self.lost, lost, scale.max, False)):
            mark.names = np.array([say(int(x), is_zero) for x in at], dtype=str)
            mark.x = np.array(at, dtype=np.float32)
            mark.y = np.full(len(at), y, dtype=np.float64)  # beyond what float32 holds, perhaps


def not_finite(value: float) -> str:
    """What a number is called that is infinite or not a number."""
    return "not a number" if math.isnan(value) else number(value)


def indices(x: np.ndarray, wanted: Sequence[int]) -> np.ndarray | None:
    """Where in the points ``x`` the wanted columns are."""
    found = np.flatnonzero(np.isin(x, wanted))
    return found if len(found) else None


def put_line_or_dots(line: Any, dots: Any, curve: "Curve") -> bool:
    """A line, or dots if it would run over places that have no value; answers whether it is dots."""
    scattered = bool(curve.lone.any())
    put(line, curve.where(curve.lone & ~curve.lone) if scattered else curve)
    put(dots, curve if scattered else curve.where(curve.lone))
    return scattered


def relabel(axis: bqplot.Axis, places: Sequence[float], labels: Sequence[str]) -> None:
    """Say what stands at which places of an axis; they are multiples of 1/8, which a browser writes as Python does.

    bqplot draws new places at once, and again, with the labels of that moment, a frame later: so the labels go ahead,
    and places that stay get new labels by moving an eighth.
    """
    known = axis.tick_labels or {}
    choices = []
    for shift in (0.0, 0.125, 0.25, 0.375):
        named = {f"{place + shift:.12g}": label for place, label in zip(places, labels, strict=True)}
        if known == named:
            return
        choices.append((any(known.get(place, label) != label for place, label in named.items()), shift, named))
    _, shift, axis.tick_labels = min(choices, key=lambda choice: choice[:2])
    axis.send_state("tick_labels")  # by itself, for the order within a message is left to chance
    axis.tick_values = np.array(places, dtype=np.float64) + shift


def put_hints(mark: Any, say: Callable[[int], str], *curves: tuple["Curve", str]) -> None:
    """Give `Chart.hints` the points of several named curves. Each says ``say(x)`` and what all curves hold there, since
    points may cover one another: its own first, for bqplot leaves points of equal names without a style."""
    held: list[dict[int, str]] = [
        {int(x): f"{name} {y:.4g}" for x, y in zip(curve.x, curve.y, strict=True)} for curve, name in curves
    ]

    def name(own: int, x: int) -> str:
        order = [held[own], *held[:own], *held[own + 1 :]]
        return f"{say(x)}: {', '.join(numbers[x] for numbers in order if x in numbers)}"

    mark.names = np.array([name(i, int(x)) for i, (curve, _) in enumerate(curves) for x in curve.x], dtype=str)
    mark.x = to_plot(np.concatenate([curve.x for curve, _ in curves]))
    mark.y = to_plot(np.concatenate([curve.y for curve, _ in curves]))


def side_by_side(*panels: ipywidgets.Widget) -> ipywidgets.Box:
    """Panels beside each other where there is room."""
    row = ipywidgets.Box(list(panels))
    row.add_class("dlw-row")
    return row


def words_label() -> ipywidgets.Label:
    """A label whose text may run over several lines."""
    label = ipywidgets.Label()
    label.add_class("dlw-flow-words")
    return label
