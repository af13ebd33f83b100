"""DropoutSimulator: what dropout does, exactly and by experiment, on toy tensors and on your own model."""

from typing import Any

import ipywidgets
import traitlets

from dlwidgets.widgets.base import Exhibit
from dlwidgets.widgets.dropout_figures import Section
from dlwidgets.widgets.dropout_in_a_row import InARow
from dlwidgets.widgets.dropout_masks import Masks
from dlwidgets.widgets.dropout_model import YourModel
from dlwidgets.widgets.dropout_order import BeforeOrAfter
from dlwidgets.widgets.dropout_scaling import Scaling
from dlwidgets.widgets.dropout_sweep import DoesItHelp

TITLES = ("Masks", "Two in a row", "Before or after", "Scaling", "Your model", "Does it help?")


class DropoutSimulator(Exhibit):
    """Six sections on dropout; theory and experiment side by side, the last two on networks.

    >>> simulator = DropoutSimulator(model, inputs, section="Two in a row")
    >>> simulator.in_a_row.probabilities = (0.1, 0.2)
    >>> simulator.wait()
    >>> simulator.in_a_row.result.combined
    Combined(probability=0.28, scale=1.3888888888888888)

    The model is never touched: it is run through a second set of module objects around the same weights.

    Args:
        model: any ``torch.nn.Module``; None for a small classifier of digits.
        inputs: a tensor, a tuple of positional or a dict of keyword arguments; None lists the model's dropouts only.
        **kwargs: the trait below and those of the box, such as ``layout``.

    Attributes:
        result: the `Report` on the model, None until ready.
        masks, in_a_row, order, scaling, model, sweep: the sections; what they show is in their traits and ``result``.

    Raises:
        TypeError: something else for a model or inputs, or an unknown keyword argument.
        ValueError: inputs without a model, or a model in TorchScript. A model that fails says so in the widget.
    """

    section = traitlets.Enum(TITLES, TITLES[0], help="Which section is open.")

    def __init__(self, model: Any = None, inputs: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.model = YourModel(model, inputs)
        self.masks, self.in_a_row, self.order = Masks(), InARow(), BeforeOrAfter()
        self.scaling, self.sweep = Scaling(), DoesItHelp()
        self._tabs = ipywidgets.Tab(list(self.sections), titles=TITLES)
        self._tabs.selected_index = TITLES.index(self.section)
        self.add_class("dlw-dropout")
        self.children = [self._tabs]
        self._tabs.observe(self._react(self._on_tab), "selected_index")
        self.observe(self._on_section, "section")
        self.model.observe(self._on_report, "result")
        self.result = self.model.result

    @property
    def sections(self) -> tuple[Section, ...]:
        """In the order of their tabs."""
        return self.masks, self.in_a_row, self.order, self.scaling, self.model, self.sweep

    @property
    def error(self) -> str:
        """The message shown in the widget or in one of its sections, empty if all is well."""
        return self._error or next((each.error for each in self.sections if each.error), "")

    def wait(self, timeout: float | None = None) -> None:
        """Return once every section is computed and drawn; see `Exhibit.wait`."""
        for section in self.sections:
            section.wait(timeout)

    def _on_tab(self, change: Any) -> None:
        if change["new"] is not None:
            self.section = TITLES[change["new"]]

    def _on_section(self, change: Any) -> None:
        self._tabs.selected_index = TITLES.index(change["new"])

    def _on_report(self, change: Any) -> None:
        self.result = change["new"]

    def _describe(self) -> str:
        return f"What dropout does, in {len(TITLES)} sections: {', '.join(TITLES)}."
