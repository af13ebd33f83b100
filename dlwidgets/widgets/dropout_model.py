"""Your model: where its dropouts stand, and what it predicts when they stay on."""

from html import escape
from typing import Any

import bqplot
import ipywidgets
import numpy as np
import traitlets

from dlwidgets.widgets.arrays import to_plot
from dlwidgets.widgets.base import hide, visible
from dlwidgets.widgets.dropout_figures import (
    BLUE,
    SKY,
    VERMILLION,
    Probability,
    Section,
    button,
    dots,
    figure,
    lines,
    number,
    side_by_side,
    slider,
)
from dlwidgets.widgets.dropout_input import InputPanel
from dlwidgets.widgets.keys import keyed

MAX_ROWS = 60
PROBABILITY_TICKS = np.linspace(0, 1, 6)
OUTPUTS = ("automatic", "logits", "log_probabilities", "probabilities", "values")


class YourModel(Section):
    """The dropouts of a model and Monte Carlo dropout on its inputs.

    Args:
        model: any ``torch.nn.Module``; None for a small classifier of digits, trained in a second.
        inputs: a tensor, a tuple of positional or a dict of keyword arguments; None lists the dropouts only.

    Attributes:
        result: the `Report`, None until ready.

    Raises:
        TypeError, ValueError: as `find_dropout` does for what is no model or no inputs.
    """

    index = traitlets.Int(0, help="Which input of the batch is shown.")
    num_samples = traitlets.Int(100, help="How many masks.")
    probability = Probability(None, allow_none=True, help="Of all dropouts; None: each keeps its own.")
    output = traitlets.Enum(OUTPUTS, "automatic", help="What the model returns; automatic: by its look.")

    def __init__(self, model: Any = None, inputs: Any = None, **kwargs: Any) -> None:
        from dlwidgets.compute.dropout.arguments import checked_inputs, checked_model

        if model is not None:
            checked_model(model)
            if inputs is not None:
                checked_inputs(inputs)
        elif inputs is not None:
            raise ValueError("inputs were given without a model: pass both, or neither for an example")
        super().__init__(**kwargs)
        self._model, self._inputs = model, inputs
        self._added = False
        self._build()
        if model is None:
            self._ask_example()
        else:
            self._ask()

    def _build(self) -> None:
        scales = {"x": bqplot.LinearScale(), "y": bqplot.LinearScale()}
        self._bars = bqplot.Bars(x=np.zeros(1), y=np.zeros(1), scales=scales, colors=[SKY], padding=0.25)
        self._spread = lines(scales, BLUE, width=2.5)
        self._mean = dots(scales, BLUE, size=50)
        self._eval = dots(scales, VERMILLION, marker="diamond", size=70)
        marks = [self._bars, self._spread, self._mean, self._eval]
        self._figure = figure(marks, "class", "probability", y_ticks=PROBABILITY_TICKS, height=280)
        self._table = ipywidgets.HTML()
        self._table.add_class("dlw-dropout-table")
        self._choice = ipywidgets.Dropdown(
            options=[("1", 0)], description="input", style={"description_width": "36px"}, layout={"width": "120px"}
        )
        self._reading = ipywidgets.Dropdown(
            options=list(OUTPUTS),
            description="model returns",
            style={"description_width": "98px"},
            layout={"width": "min(260px, 96%)"},
        )
        self._samples = ipywidgets.Dropdown(
            options=[("30 masks", 30), ("100 masks", 100), ("300 masks", 300), ("1,000 masks", 1000)],
            value=100,
            layout={"width": "120px"},
        )
        self._own_p = ipywidgets.Checkbox(
            value=True, description="each its own p", indent=False, layout={"width": "130px"}
        )
        self._chance = slider("p", 0.5)
        self._chance.continuous_update = False
        self._add = button("add dropout", "a copy with dropout, p = 0.5, after every activation", "120px")
        self._input = InputPanel()
        self._panel = side_by_side(
            self._input.box,
            keyed(
                self._figure,
                ("bar", SKY, "mean over the masks, ± one standard deviation"),
                ("diamond", VERMILLION, "eval mode"),
            ),
        )
        self._arrange(
            [self._choice, self._samples, self._reading, self._own_p, self._chance, self._add],
            self._table,
            self._panel,
        )
        for hidden in (self._panel, self._add, self._chance):
            hide(hidden, True)
        self._bind(self._choice, "index", "Input of the batch")
        self._bind(self._reading, "output", "What the model returns")
        self._bind(self._samples, "num_samples", "Number of masks")
        self._label(self._own_p, "Each dropout keeps its own probability")
        self._label(self._chance, "Probability of all dropouts")
        self._label(self._add, "Add dropout to a copy of the model")
        self._label(self._input.picture, "The input as a picture")
        self._label(self._input.plot, "The input as a curve or bars")
        self._label(self._figure, "Prediction with its spread over the masks")
        for each in (self._own_p, self._chance):
            each.observe(self._react(lambda _: self._on_chance()), "value")
        self._add.on_click(self._react(lambda _: self._add_dropout()))
        self.observe(lambda _: self._ask(), ["num_samples", "probability", "output"])
        self.observe(lambda _: self._draw(), "index")

    @traitlets.validate("num_samples")
    def _check_num_samples(self, proposal: Any) -> Any:
        from dlwidgets.compute.dropout.arguments import checked_count

        return checked_count(proposal["value"], "num_samples")

    @traitlets.validate("index")
    def _check_index(self, proposal: Any) -> Any:
        from dlwidgets.compute.dropout.report import num_predictions

        count = 0 if self.result is None else num_predictions(self.result)
        if self.result is not None and not 0 <= proposal["value"] < max(1, count):
            raise ValueError(f"index must be less than the number of inputs, {count}; got {proposal['value']}")
        return proposal["value"]

    def _on_chance(self) -> None:
        hide(self._chance, self._own_p.value)
        self.probability = None if self._own_p.value else self._chance.value

    def _add_dropout(self) -> None:
        from dlwidgets.compute.dropout import with_dropout

        self._model, self._added = with_dropout(self._model, 0.5), True
        self._ask()

    def _ask_example(self) -> None:
        from dlwidgets.compute.dropout.example import example_classifier

        self._compute(example_classifier, lane="long", topic="example", then=self._took_example)

    def _took_example(self, example: Any) -> None:
        self._model, self._inputs = example
        self._ask()

    def _ask(self) -> None:
        from dlwidgets.compute.dropout.report import examine
        from dlwidgets.compute.structure import structural_copy

        if self._model is None:
            return
        self._compute(
            examine,
            structural_copy(getattr(self._model, "_orig_mod", self._model)),
            self._inputs,
            self.num_samples,
            self.probability,
            output=None if self.output == "automatic" else self.output,
            lane="long",
            topic="report",
        )

    def _render(self) -> None:
        from dlwidgets.compute.dropout.inputs_drawn import input_drawn
        from dlwidgets.compute.dropout.report import num_predictions

        report = self.result
        if report is None:
            return
        self._table.value = table_of(report.dropouts)
        nothing = not report.dropouts.sites
        hide(self._add, not nothing)
        count = num_predictions(report)
        hide(self._panel, not count)
        words = [describe_dropouts(report.dropouts, self._added)]
        if count:
            options = [(str(index + 1), index) for index in range(count)]
            if self._choice.options != tuple(options):
                self._choice.options = options
                self.index = min(self.index, count - 1)
            words.append(self._show_prediction(report))
            self._input.show(input_drawn(self._inputs, count, self.index), self.index + 1)
        elif not nothing:
            words.append(
                "Give inputs as well to see what it predicts with dropout on."
                if self._inputs is None
                else "The batch of inputs is empty, so there is nothing to predict."
            )
        self._words.value = " ".join(words)

    def _show_prediction(self, report: Any) -> str:
        from dlwidgets.compute.dropout.report import prediction

        shown = prediction(report, self.index)
        classes = report.output != "values"
        position = np.arange(float(len(shown.index)))
        mean, low, high = to_plot(shown.mean), to_plot(shown.low), to_plot(shown.high)
        self._bars.visible = classes
        self._bars.x, self._bars.y = position, mean
        self._mean.x, self._mean.y, self._mean.visible = position, mean, not classes
        self._spread.x, self._spread.y = np.stack([position, position], 1), np.stack([low, high], 1)
        self._eval.x, self._eval.y = position, to_plot(shown.evaluation)
        across, up = self._figure.axes
        up.scale.min, up.scale.max = (0.0, 1.0) if classes else (None, None)
        up.tick_values = PROBABILITY_TICKS if classes else None
        across.tick_values = position
        across.tick_labels = {str(at): str(index) for at, index in enumerate(shown.index.tolist())}
        across.label, up.label = ("class", "probability") if classes else ("output", "value")
        return describe_prediction(shown, report.monte_carlo.num_samples)


def table_of(dropouts: Any) -> str:
    """The sites as a table in HTML, a line a row; it scrolls with the keyboard where it is long."""
    if not dropouts.sites:
        return ""
    rows = [
        '<tr><th scope="col">where</th><th scope="col">kind</th><th scope="col">p</th><th scope="col">stands</th></tr>'
    ]
    for site in dropouts.sites[:MAX_ROWS]:
        again = f" (use {site.call + 1})" if site.call else ""
        name = visible(site.name)[:60] if site.name else "the model itself"
        placement = f"{site.placement} activation" if site.placement else "–"
        flags = f"; ⚠ {', '.join(site.flags)}" if site.flags else ""
        cells = (name + again, visible(site.kind), number(site.probability), placement + flags)
        rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    hidden = len(dropouts.sites) - MAX_ROWS
    more = [f'<tr><td colspan="4">and {hidden:,} more</td></tr>'] if hidden > 0 else []
    # JupyterLab would take the arrow keys for its own
    region = '<div role="region" aria-label="Dropout modules" tabindex="0" data-lm-suppress-shortcuts="true"><table>'
    return "\n".join([region, *rows, *more, "</table></div>"])


def describe_dropouts(dropouts: Any, added: bool) -> str:
    """How many there are, which runs they form, and which are never reached."""
    count = len(dropouts.sites)
    if count == 0:
        return (
            "This model has no dropout: every pass gives the same answer. 'add dropout' makes a copy that has it after "
            "every activation module; your model stays as it is."
        )
    parts = [f"{count} dropout" + ("" if count == 1 else "s") + (" in the copy." if added else ".")]
    for run in dropouts.runs:
        names = ", ".join(visible(site.name) for site in run.sites)
        parts.append(f"In a row: {names}, together q = {number(run.probability)}.")
    if dropouts.never_called:
        parts.append(f"Never called: {', '.join(map(visible, dropouts.never_called[:5]))}.")
    return " ".join(parts)


def describe_prediction(shown: Any, num_samples: int) -> str:
    """The prediction's uncertainty in words."""
    hidden = (
        f" The {len(shown.index)} largest of {shown.num_outputs:,}." if len(shown.index) < shown.num_outputs else ""
    )
    if not bool(shown.mean.isfinite().all()):
        return f"The model's prediction is NaN or infinite for this input, over {num_samples:,} masks."
    if shown.predictive_entropy is None:
        return f"Mean and spread over {num_samples:,} masks.{hidden}"
    where = f" (mean over {shown.num_positions:,} positions)" if shown.num_positions > 1 else ""
    return (
        f"Over {num_samples:,} masks{where}: predictive entropy {number(shown.predictive_entropy)} nats, of which "
        f"{number(shown.mutual_information)} nats because the masks disagree (mutual information).{hidden}"
    )
