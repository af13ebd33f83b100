"""Masks: a small network whose hidden units are dropped, and the running mean that settles on its output without."""

from typing import Any

import bqplot
import ipywidgets
import numpy as np
import traitlets

from dlwidgets.widgets.arrays import to_plot
from dlwidgets.widgets.dropout_figures import (
    BLUE,
    GREEN,
    ORANGE,
    SKY,
    VERMILLION,
    Section,
    button,
    dots,
    figure,
    lines,
    number,
    side_by_side,
    slider,
)
from dlwidgets.widgets.keys import GREY, keyed

NUM_SAMPLES, NUM_INPUTS, NUM_HIDDEN = 200, 4, 10
FAINT, CLEAR = 0.1, 0.7
INPUT_HEIGHTS = np.linspace(0.2, 0.8, NUM_INPUTS)


class Masks(Section):
    """Step through the masks of a small network.

    Attributes:
        result: the `Neuron`, None until ready.
    """

    probability = traitlets.Any(0.5, help="Of dropping a hidden unit, from 0 to 1.")
    sample = traitlets.Int(1, help="Which mask is shown, counted from 1.")
    seed = traitlets.Int(0, help="Of the masks.")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._build_network()
        self._build_mean()
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
        self._arrange(
            [chance, steps, play, again],
            side_by_side(
                keyed(
                    self._network, ("dot", SKY, "hidden unit (ReLU) that survives"), ("cross", VERMILLION, "dropped")
                ),
                keyed(
                    self._mean,
                    ("line", SKY, "mean of the masks so far"),
                    ("dot", ORANGE, "output with this mask"),
                    ("dashed", GREEN, "output in eval mode"),
                    ("band", GREY, "eval output ± 2 standard errors, which shrink as 1/√n"),
                ),
            ),
        )
        self._bind(chance, "probability", "Probability of dropping a hidden unit")
        self._bind(steps, "sample", "Number of the mask shown")
        self._label(play, "Play through the masks")
        self._label(again, "Draw other masks")
        self._label(self._network, "A network with its dropped units")
        self._label(self._mean, "Mean of the output over the masks")
        again.on_click(self._react(lambda _: setattr(self, "seed", self.seed + 1)))
        self.observe(lambda _: self._ask(), ["probability", "seed"])
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
        self._kept = dots(scales, SKY, size=220, stroke=BLUE)
        self._dropped = dots(scales, VERMILLION, marker="cross", size=110)
        self._network = figure([everything, self._edges, around, self._kept, self._dropped], "", "", height=330)
        columns, rows = self._network.axes
        columns.tick_values = np.array([0.0, 1.0, 2.0])
        columns.tick_labels = {"0": "inputs", "1": "hidden units", "2": "output"}
        rows.visible, rows.grid_lines = False, "none"
        self._network.fig_margin = {"top": 10, "bottom": 40, "left": 14, "right": 14}

    def _build_mean(self) -> None:
        scales = {"x": bqplot.LinearScale(min=1, max=NUM_SAMPLES), "y": bqplot.LinearScale()}
        self._band = lines(scales, GREY, width=1, fill="between", opacities=[0.5, 0.5])
        self._band.fill_colors, self._band.fill_opacities = [GREY], [0.25]
        self._eval = lines(scales, GREEN, dashed=True)
        self._running = lines(scales, SKY, width=3)
        self._now = dots(scales, ORANGE, size=90)
        self._mean = figure(
            [self._band, self._eval, self._running, self._now],
            "masks averaged, n",
            "output",
            height=330,
            x_ticks=(1, 50, 100, 150, 200),
        )

    @traitlets.validate("probability")
    def _check_probability(self, proposal: Any) -> Any:
        from dlwidgets.compute.dropout.arguments import checked_probability

        return checked_probability(proposal["value"])

    @traitlets.validate("sample")
    def _check_sample(self, proposal: Any) -> Any:
        if not 1 <= proposal["value"] <= NUM_SAMPLES:
            raise ValueError(f"sample must lie from 1 to {NUM_SAMPLES}, got {proposal['value']}")
        return proposal["value"]

    def _ask(self) -> None:
        from dlwidgets.compute.dropout.demonstrations import masked_neuron

        self._compute(
            masked_neuron, self.probability, NUM_SAMPLES, self.seed, num_inputs=NUM_INPUTS, num_hidden=NUM_HIDDEN
        )

    def _render(self) -> None:
        neuron = self.result
        if neuron is None:
            return
        mask = to_plot(neuron.masks[self.sample - 1]).astype(bool)
        self._edges.x, self._edges.y = edges_of(self._hidden[mask])
        self._kept.x, self._kept.y = np.ones(mask.sum()), self._hidden[mask]
        self._dropped.x, self._dropped.y = np.ones((~mask).sum()), self._hidden[~mask]
        counts = np.arange(1, NUM_SAMPLES + 1)
        self._band.x, self._band.y = counts, np.stack([to_plot(neuron.low), to_plot(neuron.high)])
        self._eval.x, self._eval.y = np.array([1, NUM_SAMPLES]), np.full(2, neuron.eval_output)
        self._running.x, self._running.y = counts[: self.sample], to_plot(neuron.running_mean[: self.sample])
        output, mean = float(neuron.outputs[self.sample - 1]), float(neuron.running_mean[self.sample - 1])
        self._now.x, self._now.y = np.array([self.sample]), np.array([output])
        count = f"{int((~mask).sum())} of {NUM_HIDDEN} units dropped"
        self._words.value = (
            f"Mask {self.sample}: {count}, output {number(output)}. Mean of {self.sample}: {number(mean)}; "
            f"in eval mode: {number(neuron.eval_output)}. "
            + (
                "At p = 1 every output is 0 and no factor makes up for it."
                if self.probability == 1
                else "Each mask is off, their mean is not: the output is linear in the mask."
            )
        )


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
