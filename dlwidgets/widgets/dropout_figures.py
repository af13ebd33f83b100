"""What the sections of DropoutSimulator are drawn with: one kind of figure, keys, sliders and a base for sections."""

from collections.abc import Iterable, Sequence
from typing import Any

import bqplot
import ipywidgets
import numpy as np
import traitlets

from dlwidgets.marks.palette import OKABE_ITO
from dlwidgets.marks.raster import Raster, raster_figure
from dlwidgets.widgets.base import Exhibit

ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILLION, PINK, _ = OKABE_ITO


class Probability(traitlets.TraitType[Any, Any]):
    """A number from 0 to 1; what is refused says why."""

    def validate(self, _: Any, value: Any) -> float:
        from dlwidgets.compute.dropout.arguments import checked_probability

        return checked_probability(value)


class Section(Exhibit):
    """One tab of DropoutSimulator: controls on top, figures side by side, a sentence that says what is to be seen."""

    def _arrange(self, controls: Sequence[ipywidgets.Widget], *below: ipywidgets.Widget) -> None:
        self._words = ipywidgets.Label()
        self._words.add_class("dlw-dropout-words")
        self._controls = tuple(controls)
        row = ipywidgets.Box(list(controls))
        row.add_class("dlw-dropout-controls")
        self.children = [row, self._words, *below]

    def _bind(self, control: ipywidgets.Widget, trait: str, name: str) -> None:
        """Name a control, and have it and a trait follow each other."""
        self._label(control, name)
        control.observe(self._react(lambda change: setattr(self, trait, change["new"])), "value")
        self.observe(lambda change: setattr(control, "value", change["new"]), trait)

    def _describe(self) -> str:
        return self._words.value


def slider(description: str, value: float, high: float = 1.0) -> ipywidgets.FloatSlider:
    """A slider for a probability."""
    return ipywidgets.FloatSlider(
        value=value,
        min=0.0,
        max=high,
        step=0.01,
        description=description,
        style={"description_width": "28px"},
        layout={"width": "min(320px, 100%)"},
    )


def button(text: str, tooltip: str, width: str = "110px") -> ipywidgets.Button:
    """A button that is as wide as its text needs."""
    return ipywidgets.Button(description=text, tooltip=tooltip, layout={"width": width})


def figure(
    marks: Sequence[bqplot.Mark],
    x_label: str,
    y_label: str,
    *,
    height: int = 270,
    y_format: str | None = None,
    x_ticks: Iterable[float] | None = None,
    y_ticks: Iterable[float] | None = None,
) -> bqplot.Figure:
    """A figure around marks that share the first one's scales, wide enough for a phone."""
    scales = marks[0].scales
    return bqplot.Figure(
        marks=list(marks),
        axes=[
            bqplot.Axis(
                scale=scales["x"],
                label=x_label,
                grid_lines="none",
                label_offset="2.6em",
                tick_values=_ticks(x_ticks),
            ),
            bqplot.Axis(
                scale=scales["y"],
                label=y_label,
                side="left",
                label_offset="3.2em",
                tick_values=_ticks(y_ticks),
                tick_format=y_format,
            ),
        ],
        fig_margin={"top": 10, "bottom": 48, "left": 58, "right": 14},
        padding_x=0.02,
        padding_y=0.03,
        display_toolbar=False,
        layout=ipywidgets.Layout(flex="none", width="auto", min_width="200px", height=f"{height}px"),
    )


def _ticks(at: Iterable[float] | None) -> np.ndarray | None:
    return None if at is None else np.array(list(at), dtype=float)


def picture(raster: Raster, height: int) -> bqplot.Figure:
    """A figure around a raster, no wider than a phone's tab."""
    shown = raster_figure(raster, height=height)
    shown.layout.min_width = "200px"
    return shown


def side_by_side(*panels: ipywidgets.Widget) -> ipywidgets.Box:
    """Panels beside each other where there is room."""
    row = ipywidgets.Box(list(panels))
    row.add_class("dlw-row")
    return row


def lines(scales: dict[str, Any], color: str, *, dashed: bool = False, width: float = 2.5, **kwargs: Any) -> Any:
    """A line, without points so far."""
    return bqplot.Lines(
        x=np.zeros(2),
        y=np.zeros(2),
        scales=scales,
        colors=[color],
        stroke_width=width,
        line_style="dashed" if dashed else "solid",
        **kwargs,
    )


def dots(scales: dict[str, Any], color: str, *, marker: str = "circle", size: int = 60, **kwargs: Any) -> Any:
    """Points, none so far."""
    return bqplot.Scatter(
        x=np.zeros(0), y=np.zeros(0), scales=scales, colors=[color], marker=marker, default_size=size, **kwargs
    )


def path_of_dots(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points for `lines` that draw a dot at each place, as wide as the line: one path is drawn several times faster
    than a mark for each. The style sheet rounds its ends."""
    return np.repeat(x, 2), np.stack([y, np.full(len(y), np.nan)], 1).ravel()


def path_of_crosses(x: np.ndarray, y: np.ndarray, width: float, height: float) -> tuple[np.ndarray, np.ndarray]:
    """The same for crosses of that size in the units of the axes."""
    across, up = np.array([-1, 1, 0, -1, 1, 0]) * width / 2, np.array([-1, 1, np.nan, 1, -1, np.nan]) * height / 2
    return (x[:, None] + across).ravel(), (y[:, None] + up).ravel()


def number(value: float) -> str:
    """Four significant digits, with a true minus sign."""
    return f"{value:.4g}".replace("-", "−")
