"""The findings of GradientFlowMeter as sentences that one can press."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import ipywidgets

from dlwidgets.widgets.base import visible

if TYPE_CHECKING:
    from dlwidgets.compute.gradient_flow import GradientFlow, Verdict

SHOWN = 8
"""How many findings have a button; more are counted."""

MILD = {"shared module", "frozen", "unused"}
"""Kinds that need not be a mistake."""


class VerdictList:
    """A button for every finding, made once and hidden while there are fewer.

    Args:
        on_press: called with the index of a verdict.

    Attributes:
        box: the buttons.
    """

    def __init__(self, on_press: Callable[[int], None], react: Callable[[Callable[..., None]], Callable]) -> None:
        self.buttons = [ipywidgets.Button(tooltip="show its rows") for _ in range(SHOWN)]
        for index, button in enumerate(self.buttons):
            button.add_class("dlw-flow-verdict")
            button.add_class("dlw-hidden")
            button.on_click(react(lambda _, index=index: on_press(index)))
        self._rest = ipywidgets.Label()
        self._rest.add_class("dlw-flow-words")
        self.box = ipywidgets.VBox([*self.buttons, self._rest])

    def show(self, flow: "GradientFlow | None", active: int | None) -> None:
        """The findings of ``flow``, the ``active`` one marked."""
        verdicts = () if flow is None else flow.verdicts
        for index, button in enumerate(self.buttons):
            verdict = verdicts[index] if index < len(verdicts) else None
            button.description = "" if verdict is None else visible(verdict.sentence)
            button.tooltip = "" if verdict is None else _evidence(verdict)
            _set_class(button, "dlw-hidden", verdict is None)
            _set_class(button, "dlw-flow-mild", verdict is not None and verdict.kind in MILD)
            _set_class(button, "mod-active", verdict is not None and index == active)
        more = len(verdicts) - SHOWN
        if more > 0:
            self._rest.value = f"… and {more} more in meter.result.verdicts"
        elif flow is not None and len(flow.steps) and not verdicts:
            self._rest.value = "No finding in the sampled steps: nothing vanishes, explodes, saturates or stands still."
        else:
            self._rest.value = ""
        _set_class(self._rest, "dlw-hidden", not self._rest.value)


def _evidence(verdict: "Verdict") -> str:
    """The numbers behind a finding, with the threshold."""
    numbers = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in verdict.evidence.items())
    return f"{verdict.kind}: {numbers}. Press to show its rows."


def _set_class(widget: ipywidgets.DOMWidget, name: str, present: bool) -> None:
    if present != (name in widget._dom_classes):
        (widget.add_class if present else widget.remove_class)(name)
