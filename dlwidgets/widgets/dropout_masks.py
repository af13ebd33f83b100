"""Masks: a small network, or its feature map, with what is dropped; and the running mean that settles on the output."""

from typing import Any

import bqplot
import ipywidgets
import numpy as np
import traitlets

from dlwidgets.marks.palette import sequential_scale
from dlwidgets.marks.raster import Raster
from dlwidgets.widgets.arrays import to_plot
from dlwidgets.widgets.base import hide
from dlwidgets.widgets.dropout_figures import (
    GREEN,
    ORANGE,
    PINK,
    SKY,
    VERMILLION,
    YELLOW,
    Probability,
    Section,
    button,
    dots,
    figure,
    lines,
    number,
    path_of_crosses,
    path_of_dots,
    picture,
    side_by_side,
    slider,
)
from dlwidgets.widgets.keys import GREY, keyed

NUM_SAMPLES, NUM_INPUTS, NUM_HIDDEN = 200, 4, 10
FAINT, CLEAR = 0.1, 0.7
KINDS = {"units of a layer": "units", "cells of a feature map": "cells", "channels of a feature map": "channels"}
INPUT_HEIGHTS = np.linspace(0.2, 0.8, NUM_INPUTS)


class Masks(Section):
    """Step through the masks of a small network.

    Attributes:
        result: the `Masked`, None until ready.
    """

    kind = traitlets.Enum(list(KINDS.values()), "units", help="What is dropped: units, or parts of feature maps.")
    probability = Probability(0.5, help="Of dropping one of them, from 0 to 1.")
    sample = traitlets.Int(1, help="Which mask is shown, counted from 1.")
    seed = traitlets.Int(0, help="Of the masks.")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._build_network()
        self._build_maps()
        self._build_mean()
        kind = ipywidgets.Dropdown(
            options=list(KINDS.items()),
            value="units",
            description="drop",
            style={"description_width": "36px"},
            layout={"width": "min(260px, 96%)"},
        )
        chance = slider("p", 0.5)
        steps = ipywidgets.IntSlider(
            value=1,
            min=1,
            max=NUM_SAMPLES,
            description="mask",
            style={"description_width": "40px"},
            layout={"width": "min(320px, 100%)"},
        )
        again = button("resample", "draw other masks")
        play = ipywidgets.Play(value=1, min=1, max=NUM_SAMPLES, interval=200, show_repeat=False)
        self._own(ipywidgets.jslink((play, "value"), (steps, "value")))
        self.observe(lambda change: setattr(play, "value", change["new"]), "sample")
        self._layer = keyed(
            self._network, ("dot", SKY, "hidden unit (ReLU) that survives"), ("cross", VERMILLION, "dropped")
        )
        self._map = keyed(self._maps, ("hatch", PINK, "dropped"), ("bar", YELLOW, "bright: a large value"))
        self._arrange(
            [kind, chance, steps, play, again],
            side_by_side(
                self._layer,
                self._map,
                keyed(
                    self._mean,
                    ("line", SKY, "mean of the masks so far"),
                    ("dot", ORANGE, "output with this mask"),
                    ("dashed", GREEN, "output in eval mode"),
                    ("band", GREY, "eval output ± 2 standard errors, which shrink as 1/√n"),
                ),
            ),
        )
        self._bind(kind, "kind", "What is dropped")
        self._bind(chance, "probability", "Probability of dropping one of them")
        self._bind(steps, "sample", "Number of the mask shown")
        self._label(play, "Play through the masks")
        self._label(again, "Draw other masks")
        self._label(self._network, "A network with its dropped units")
        self._label(self._maps, "Four feature maps with what is dropped of them")
        self._label(self._mean, "Mean of the output over the masks")
        again.on_click(self._react(lambda _: setattr(self, "seed", self.seed + 1)))
        self.observe(lambda _: self._ask(), ["kind", "probability", "seed"])
        self.observe(lambda _: self._draw(), "sample")
        self._ask()

    def _build_network(self) -> None:
        scales = {"x": bqplot.LinearScale(min=-0.2, max=2.2), "y": bqplot.LinearScale(min=-0.06, max=1.06)}
        self._hidden = hidden = np.linspace(0.0, 1.0, NUM_HIDDEN)
        everything = lines(scales, GREY, width=1.5, opacities=[FAINT])
        everything.x, everything.y = edges_of(hidden)
        self._edges = lines(scales, GREY, width=1.5, opacities=[CLEAR])
        around = dots(scales, GREY, size=130)
        around.x, around.y = np.array([0.0] * NUM_INPUTS + [2.0]), np.array([*INPUT_HEIGHTS, 0.5])
        self._kept, self._dropped = lines(scales, SKY, width=15), lines(scales, VERMILLION)
        self._network = figure([everything, self._edges, around, self._kept, self._dropped], "", "", height=330)
        columns, rows = self._network.axes
        columns.tick_values = np.array([0.0, 1.0, 2.0])
        columns.tick_labels = {"0": "inputs", "1": "hidden units", "2": "output"}
        rows.visible, rows.grid_lines = False, "none"
        self._network.fig_margin = {"top": 10, "bottom": 40, "left": 14, "right": 14}

    def _build_maps(self) -> None:
        self._raster = Raster(report_hover=False, scales={"color": sequential_scale(min=0.0, max=1.0)})
        self._maps = picture(self._raster, 330)

    def _build_mean(self) -> None:
        scales = {"x": bqplot.LinearScale(min=1, max=NUM_SAMPLES), "y": bqplot.LinearScale()}
        self._band = lines(scales, GREY, width=1, fill="between", opacities=[0.5, 0.5])
        self._band.fill_colors, self._band.fill_opacities = [GREY], [0.25]
        self._eval = lines(scales, GREEN, dashed=True)
        self._running = lines(scales, SKY, width=3)
        self._now = lines(scales, ORANGE, width=10)
        self._mean = figure(
            [self._band, self._eval, self._running, self._now],
            "masks averaged, n",
            "output",
            height=330,
            x_ticks=(1, 50, 100, 150, 200),
        )

    @traitlets.validate("sample")
    def _check_sample(self, proposal: Any) -> Any:
        if not 1 <= proposal["value"] <= NUM_SAMPLES:
            raise ValueError(f"sample must lie from 1 to {NUM_SAMPLES}, got {proposal['value']}")
        return proposal["value"]

    def _ask(self) -> None:
        from dlwidgets.compute.dropout.masks import masked_feature_map, masked_units

        if self.kind == "units":
            self._compute(
                masked_units, self.probability, NUM_SAMPLES, self.seed, num_inputs=NUM_INPUTS, num_hidden=NUM_HIDDEN
            )
        else:
            whole = self.kind == "channels"
            self._compute(masked_feature_map, self.probability, NUM_SAMPLES, self.seed, whole_channels=whole)

    def _render(self) -> None:
        shown = self.result
        if shown is None:
            return
        mask = to_plot(shown.masks[self.sample - 1]).astype(bool)
        in_maps = mask.ndim == 3
        hide(self._layer, in_maps)
        hide(self._map, not in_maps)
        if in_maps:
            maps = to_plot(shown.hidden)
            self._raster.scales["color"].max = float(maps.max())
            self._raster.boxes = outlines(mask.shape)
            self._raster.image = tiled(np.where(mask, maps, np.float32(np.nan)))  # what is not finite is hatched
        else:
            self._show_units(mask)
        counts = np.arange(1, NUM_SAMPLES + 1)
        scale = self._running.scales["y"]
        scale.min, scale.max = shown.output_range
        self._band.x, self._band.y = counts, np.stack([to_plot(shown.low), to_plot(shown.high)])
        self._eval.x, self._eval.y = np.array([1, NUM_SAMPLES]), np.full(2, shown.eval_output)
        self._running.x, self._running.y = counts[: self.sample], to_plot(shown.running_mean[: self.sample])
        output, mean = float(shown.outputs[self.sample - 1]), float(shown.running_mean[self.sample - 1])
        self._now.x, self._now.y = path_of_dots(np.array([self.sample]), np.array([output]))
        what, units = {3: ("cells", mask), 1: ("units", mask)}[mask.ndim]
        if shown.whole_channels:
            what, units = "channels", mask[:, 0, 0]
        self._words.value = (
            f"Mask {self.sample}: {int((~units).sum())} of {units.size} {what} dropped, output {number(output)}. Mean "
            f"of {self.sample}: {number(mean)}; in eval mode: {number(shown.eval_output)}. "
            + (
                "At p = 1 every output is 0 and no factor makes up for it."
                if self.probability == 1
                else f"Single masks are off by {number(shown.standard_deviation)} (standard deviation), their mean is "
                "not: the output is linear in the mask."
            )
        )
        self._raster.alt = self._words.value if in_maps else ""

    def _show_units(self, mask: np.ndarray) -> None:
        kept, dropped = self._hidden[mask], self._hidden[~mask]
        self._edges.x, self._edges.y = edges_of(kept)
        self._kept.x, self._kept.y = path_of_dots(np.ones(len(kept)), kept)
        self._dropped.x, self._dropped.y = path_of_crosses(np.ones(len(dropped)), dropped, 0.07, 0.035)


def tiled(maps: np.ndarray) -> np.ndarray:
    """Four feature maps as one picture, two by two."""
    _, height, width = maps.shape
    return maps.reshape(2, 2, height, width).swapaxes(1, 2).reshape(2 * height, 2 * width)


def outlines(shape: tuple[int, ...]) -> np.ndarray:
    """A box around each of them."""
    _, height, width = shape
    places = [(row * height, column * width) for row in (0, 1) for column in (0, 1)]
    return np.array([(row, column, row + height, column + width) for row, column in places], dtype=np.int32)


def edges_of(hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One line along all edges of the hidden units at these heights, there and back: one path is drawn faster than
    fifty."""
    x, y = [2.0], [0.5]
    for height in hidden.tolist():
        for start in INPUT_HEIGHTS.tolist():
            x += [1.0, 0.0]
            y += [height, start]
        x += [1.0, 2.0]
        y += [height, 0.5]
    return np.array(x), np.array(y)
