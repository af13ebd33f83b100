"""The strip of a network's layers: field size and jump growing along it, a click selects."""

from collections.abc import Callable, Sequence
from typing import Any

import bqplot
import ipywidgets
import numpy as np

from dlwidgets.marks.palette import OKABE_ITO
from dlwidgets.widgets.base import visible
from dlwidgets.widgets.keys import keyed, show_keys

LOWEST = 0.7
"""Where the bars stand on the log scale: a field of one position is still seen."""

TICKS = np.array([1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000])

SIZE_COLOR, JUMP_COLOR, MARK_COLOR = OKABE_ITO[4], OKABE_ITO[0], OKABE_ITO[5]


class LayerStrip:
    """Bars for every layer on a log scale; a triangle marks a field that exceeds the input.

    Args:
        on_select: called with the index of a clicked layer.
    """

    def __init__(self, on_select: Callable[[int], None]) -> None:
        self._on_select = on_select
        scales = {"x": bqplot.OrdinalScale(), "y": bqplot.LogScale(min=LOWEST)}
        self._bars = bqplot.Bars(
            x=np.array(["…"]),
            y=np.ones((2, 1)),
            scales=scales,
            base=LOWEST,
            type="grouped",
            padding=0.15,
            colors=[SIZE_COLOR, JUMP_COLOR],
            selected_style={"stroke": MARK_COLOR, "stroke-width": "2"},
            unselected_style={"opacity": "0.6"},
            tooltip=bqplot.Tooltip(fields=["x", "y"], labels=["layer", "positions"], formats=["", ".5~g"]),
        )
        self._exceeding = bqplot.Scatter(
            x=np.array([], dtype=str),
            y=np.array([]),
            scales=scales,
            marker="triangle-up",
            default_size=36,
            colors=[MARK_COLOR],
        )
        self._bars.on_element_click(self._clicked)
        self._scales = scales
        self._ruler = bqplot.Axis(
            scale=scales["y"], orientation="vertical", label="positions", label_offset="3em", tick_format=",d"
        )
        self.figure = bqplot.Figure(
            marks=[self._bars, self._exceeding],
            axes=[
                bqplot.Axis(scale=scales["x"], label="layers, in the order they run", tick_style={"display": "none"}),
                self._ruler,
            ],
            fig_margin={"top": 12, "bottom": 32, "left": 56, "right": 12},
            display_toolbar=False,
            layout=ipywidgets.Layout(width="100%", min_width="240px", height="190px"),
        )
        self.box = keyed(
            self.figure,
            ("bar", SIZE_COLOR, "field size"),
            ("bar", JUMP_COLOR, "jump: input positions from one unit to the next"),
            ("rising", MARK_COLOR, "field larger than the input, or all of it"),
        )

    def show(self, names: Sequence[str], size: np.ndarray, jump: np.ndarray, exceeds: np.ndarray) -> None:
        """Draw the layers; ``jump`` is nan where there is none."""
        labels = np.array(unique(names))
        largest = size.max(initial=1.0)
        self._scales["x"].domain = labels.tolist()
        self._scales["y"].max = 1.4 * largest  # bqplot finds none by itself while no triangle is drawn
        self._bars.x = labels
        self._bars.y = np.stack([size, np.where(np.isfinite(jump), jump, LOWEST)])
        self._ruler.tick_values = TICKS[: int(np.searchsorted(TICKS, 1.4 * largest))]
        self._exceeding.x = labels[exceeds]
        self._exceeding.y = size[exceeds]
        show_keys(self.box, bool(len(names)), bool(np.isfinite(jump).any()), bool(exceeds.any()))

    def select(self, index: int | None) -> None:
        """Mark one layer as the selected one."""
        self._bars.selected = None if index is None else np.array([index])

    @property
    def marks(self) -> tuple[bqplot.Bars, bqplot.Scatter]:
        """The bars, and the triangles above those that exceed the input."""
        return self._bars, self._exceeding

    def _clicked(self, _: Any, event: Any) -> None:
        index = event.get("data", {}).get("index")
        if isinstance(index, int):
            self._on_select(index)


def unique(names: Sequence[str]) -> list[str]:
    """The names, safe to show; where two layers are called the same, the later ones are numbered."""
    seen: dict[str, int] = {}
    out = []
    for name in map(visible, names):
        count = seen.get(name, 0)
        seen[name] = count + 1
        out.append(name if count == 0 else f"{name} ({count + 1})")
    return out
