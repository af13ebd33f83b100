"""GradientFlowMeter: watch, while your own loop trains, where in the network the gradient dies or explodes."""

import warnings
from typing import TYPE_CHECKING, Any

import ipywidgets
import traitlets

from dlwidgets.widgets.assigning import Assigning
from dlwidgets.widgets.base import Exhibit, hide
from dlwidgets.widgets.busy_kernel import answer_while_busy, answers_when_the_cell_ends
from dlwidgets.widgets.gradient_flow_charts import words_label
from dlwidgets.widgets.gradient_flow_pictures import FlowPictures
from dlwidgets.widgets.gradient_flow_polling import Polling
from dlwidgets.widgets.gradient_flow_verdicts import VerdictList
from dlwidgets.widgets.gradient_flow_words import describe_flow, describe_position, describe_state, position_names

if TYPE_CHECKING:
    from dlwidgets.widgets.gradient_flow_laboratory import GradientLaboratory

NOBODY = -1
"""What the choice of positions holds for none, because None would be no choice at all."""

REPLACED = "Another meter was attached to this model and has replaced this one; what it had seen stays."
REPLACED_EARLY = "Another meter was attached to this model and has replaced this one before it saw a step."
NOT_LOGGED = (
    "the loss was not noted, because the meter watches nothing now: log it inside `with meter:`, or after "
    "meter.attach() and before meter.detach()"
)


class GradientFlowMeter(Assigning, Exhibit):
    """The gradients of a network, live, while an ordinary loop trains it; nothing in the loop or the model changes.

    >>> meter = GradientFlowMeter(model, optimizer)
    >>> display(meter)
    >>> with meter:
    ...     for x, y in batches:
    ...         ...  # your own loop, unchanged
    ...         meter.log(loss=loss)  # if the loss is to be shown as well
    >>> meter.result.verdicts

    Rows are calls of modules. What ``forward`` calls as a function, such as ``torch.relu(x)``, is no module and has no
    row; an ``nn.ReLU()`` in its place has one.

    A saved notebook that is reloaded while a cell trains shows the meter again after some seconds; with ipykernel
    before 7.4 it says "Loading widget..." until that cell has ended. The training goes on meanwhile.

    Args:
        model: the ``torch.nn.Module`` that is trained.
        optimizer: its optimizer, several in a list, or None: then whatever steps the model's parameters is found.
        budget: the share of the training time that the meter may take, above 0 and at most 1; drawing takes no more
            than that again.
        **kwargs: traits of the box, such as ``layout``.

    Attributes:
        result: the `GradientFlow` seen so far, None until there is one. It follows the training while attached.

    Raises:
        TypeError: something else for a model, an optimizer or the budget, or an unknown keyword argument.
        ValueError: an optimizer of another model, or a budget out of range.
    """

    step = traitlets.Int(None, allow_none=True, help="The step to look back at; None follows the newest.")
    position = traitlets.Int(None, allow_none=True, help="The index of the position to look at; None for none.")
    quantity = traitlets.Unicode("gradient norm", help="What the heat map shows: a key of `picture.QUANTITIES`.")
    parameter_quantity = traitlets.Unicode(
        "update / weight", help="What is shown of the parameters: a key of `picture.PARAMETER_QUANTITIES`."
    )

    def __init__(self, model: Any, optimizer: Any = None, budget: float = 0.01, **kwargs: Any) -> None:
        from dlwidgets.compute.gradient_flow import watch

        self._meter = watch(model, optimizer, budget)  # refuses bad input before any widget is made
        self._budget = float(budget)
        self._given = optimizer is not None
        self._polling: Polling | None = None
        self._seen = -1
        self._finding: int | None = None
        super().__init__(**kwargs)
        self._build()
        self._late = answers_when_the_cell_ends()
        answer_while_busy([self, *self._adopted.values()], self._lock)
        self._draw()

    @classmethod
    def laboratory(cls, left: Any = None, right: Any = None, **kwargs: Any) -> "GradientLaboratory":
        """Networks whose depth, activation, initialisation and so on one can change; see `GradientLaboratory`."""
        from dlwidgets.widgets.gradient_flow_laboratory import GradientLaboratory

        return GradientLaboratory(left, right, **kwargs)

    # Watching

    def __enter__(self) -> "GradientFlowMeter":
        """Attach."""
        self.attach()
        return self

    def __exit__(self, *_: object) -> None:
        """Detach."""
        self.detach()

    def attach(self) -> None:
        """Begin to watch, with an empty record.

        A meter that is still attached to this model, this one or another, is replaced, with a notice.

        Raises:
            RuntimeError: the widget was closed.
        """
        if self._closed:
            raise RuntimeError("this meter was closed; make a new GradientFlowMeter")
        self._end_polling()
        self._meter.attach()
        self._error = ""
        self._seen = -1
        self._update()  # nothing of an earlier record stays
        self._polling = Polling(self._poll, self._budget)

    def detach(self) -> None:
        """Stop watching and draw what was seen last; afterwards no hook is left anywhere. Twice does nothing."""
        self._notice_replacement()
        self._end_polling()
        self._meter.detach()
        self._update()

    @property
    def attached(self) -> bool:
        """Whether the meter is watching now."""
        return self._meter.attached

    def log(self, *, loss: Any) -> None:  # traitlets keeps its logger under this name
        """Note the loss of the current step, a number or a tensor with one element; nan becomes a verdict.

        There is a warning, and nothing is noted, while the meter is not attached: then there is no current step.

        Raises:
            TypeError: something else.
            ValueError: a tensor with more or less than one element.
        """
        if self.attached:
            self._meter.log(loss=loss)
        elif not self._error:  # which says already why it has let go
            warnings.warn(NOT_LOGGED, UserWarning, stacklevel=2)

    def close(self) -> None:
        """Stop watching and free every model it is made of."""
        if getattr(self, "_closed", True):
            return
        from torch.nn import Identity

        from dlwidgets.compute.gradient_flow import watch

        self._end_polling()
        self._meter.detach()
        super().close()
        self._meter = watch(Identity())  # whoever keeps this widget, such as a notebook's Out, keeps no model

    def _end_polling(self) -> None:
        polling = self._polling
        if polling is not None:
            polling.stop()
            if not self._lock._is_owned():  # a redraw under way waits for that lock
                polling.join()

    def _poll(self) -> bool:
        """Draw what is new; answers whether to go on."""
        polling = self._polling
        if self._closed or polling is None or polling.stopped:
            return False
        attached = self._meter.attached
        self._notice_replacement()
        self._update()
        return attached

    def _notice_replacement(self) -> None:
        """Say so if another meter has taken over: then this one watches no more, and nobody has told it to stop."""
        with self._lock:
            polling = self._polling
            if polling is not None and not (self._meter.attached or self._meter.failure or polling.stopped):
                self._error = REPLACED if self._meter.num_steps else REPLACED_EARLY

    def _update(self) -> None:
        with self._lock:
            if self._closed:
                return
            try:
                if self._meter.revision != self._seen:
                    self._seen = self._meter.revision
                    self.result = self._meter.result()
                if self._meter.failure:
                    self._error = self._meter.failure
            except Exception as error:
                self._show_error(error)  # the training goes on
        self._draw()

    # Making the parts, once

    def _build(self) -> None:
        from dlwidgets.compute.gradient_flow.picture import QUANTITIES

        self.add_class("dlw-flow")
        self._state = words_label()
        self._verdicts = VerdictList(self._on_verdict, self._react)
        self._pictures = FlowPictures()
        self._about = words_label()
        self._quantity_choice = ipywidgets.Dropdown(
            options=list(QUANTITIES), description="heat map", layout={"width": "230px"}
        )
        self._position_choice = ipywidgets.Dropdown(
            options=[("none", NOBODY)], description="position", layout={"width": "min(320px, 100% - 4px)"}
        )
        self._slider = ipywidgets.IntSlider(
            min=0, max=0, description="back to", readout=False, layout={"flex": "1 1 0", "min_width": "0"}
        )
        self._shown_step = ipywidgets.Label(layout={"flex": "0 0 auto", "margin": "2px 2px 2px 14px"})
        back = ipywidgets.HBox([self._slider, self._shown_step], layout={"width": "min(300px, 100%)"})
        self._follow = ipywidgets.ToggleButton(
            True,
            description="newest step",
            tooltip="follow the newest step; to go back drag the slider or click a cell",
            layout={"width": "120px"},
        )
        self._controls = ipywidgets.Box([self._follow, back, self._quantity_choice, self._position_choice])
        self._controls.add_class("dlw-flow-controls")
        for widget, name in (
            (self._slider, "Step to look back at, by sample"),
            (self._quantity_choice, "What the heat map shows"),
            (self._position_choice, "Position"),
            (self._pictures.parameters.choice, "What is shown of the parameters"),
            *self._pictures.names(),
        ):
            self._label(widget, name)
        self._connect()
        pictures = self._pictures
        self.children = [self._state, self._verdicts.box, self._controls, pictures.top, self._about, pictures.below]

    def _connect(self) -> None:
        pictures = self._pictures
        for widget, name, handler in (
            (self._slider, "value", self._on_slider),
            (self._follow, "value", self._on_follow),
            (self._quantity_choice, "value", self._on_quantity_choice),
            (self._position_choice, "value", self._on_position_choice),
            (pictures.parameters.choice, "value", self._on_parameter_choice),
            (pictures.heat, "selected", self._on_cell),
        ):
            widget.observe(self._react(self._unless_assigning(handler)), name)
        pictures.profile_dots.on_element_click(self._react(self._on_dot))
        pictures.calls.dots.on_element_click(self._react(self._on_call))
        for name in ("step", "position", "quantity", "parameter_quantity"):
            self.observe(self._unless_assigning(lambda _: self._draw()), name)

    @traitlets.validate("quantity", "parameter_quantity")
    def _check_quantity(self, proposal: Any) -> str:
        from dlwidgets.compute.gradient_flow.picture import PARAMETER_QUANTITIES, QUANTITIES

        value, name = proposal["value"], proposal["trait"].name
        known = QUANTITIES if name == "quantity" else PARAMETER_QUANTITIES
        if value not in known:
            raise traitlets.TraitError(f"{name} must be one of {', '.join(known)}, got {value!r}")
        return value

    @traitlets.validate("step")
    def _check_step(self, proposal: Any) -> int | None:
        value = proposal["value"]
        if value is not None and value < 0:
            raise traitlets.TraitError(f"step must be None or a step, counted from 0, got {value}")
        return value

    @traitlets.validate("position")
    def _check_position(self, proposal: Any) -> int | None:
        value, count = proposal["value"], 0 if self.result is None else len(self.result.positions)
        if value is not None and not 0 <= value < count:
            raise traitlets.TraitError(f"position must be None or an index below {count}, got {value}")
        return value

    # What a person changes

    def _on_slider(self, change: Any) -> None:
        if self.result is not None and change["new"] < len(self.result.steps):
            self.step = int(self.result.steps[change["new"]])

    def _on_follow(self, change: Any) -> None:
        if change["new"]:
            self.step = None
        elif self.result is not None and len(self.result.steps):
            self.step = int(self.result.steps[-1])

    def _on_quantity_choice(self, change: Any) -> None:
        self.quantity = change["new"]

    def _on_parameter_choice(self, change: Any) -> None:
        self.parameter_quantity = change["new"]

    def _on_position_choice(self, change: Any) -> None:
        self._pick(None if change["new"] == NOBODY else change["new"])

    def _on_cell(self, change: Any) -> None:
        if not change["new"]:
            self._pick(None)
        elif self.result is not None:
            position, column = change["new"]
            row = self._pictures.columns[column]
            with self._assigning():
                self.step = None if row == len(self.result.steps) - 1 else int(self.result.steps[row])
                self._pick(position)
            self._draw()

    def _on_dot(self, _: Any, event: Any) -> None:
        index = event.get("data", {}).get("index")
        if isinstance(index, int) and index < len(self._pictures.profile_dots.x):
            self._pick(int(self._pictures.profile_dots.x[index]))

    def _on_call(self, _: Any, event: Any) -> None:
        index, positions = event.get("data", {}).get("index"), self._pictures.calls.positions
        if isinstance(index, int) and index < len(positions):
            self._pick(positions[index])

    def _pick(self, position: int | None) -> None:
        self._finding = None
        self.position = position

    def _on_verdict(self, index: int) -> None:
        from dlwidgets.compute.gradient_flow.picture import last_finite_row, row_at, rows_of

        verdict = self.result.verdicts[index]
        positions, _ = rows_of(self.result, verdict)
        with self._assigning():
            self._finding = None if self._finding == index else index
            if positions:
                self.position = positions[0]
            if verdict.step is not None:
                self.step = verdict.step
            else:
                shown = row_at(self.result, self.step)
                row = last_finite_row(self.result, positions, shown)
                if row != shown:
                    self.step = int(self.result.steps[row])
        self._draw()

    # Drawing

    def _render(self) -> None:
        flow = self.result
        drawing = 0.0 if self._polling is None else self._polling.share
        replaced = self._error in (REPLACED, REPLACED_EARLY)
        self._state.value = describe_state(self._meter, flow, drawing, self._late, self._given, replaced)
        if self._finding is not None and (flow is None or self._finding >= len(flow.verdicts)):
            self._finding = None
        self._verdicts.show(flow, self._finding)
        empty = flow is None or not len(flow.steps)
        for part in (self._controls, self._pictures.top, self._about, self._pictures.below):
            hide(part, empty)  # before the first step there is nothing to show
        if empty:
            return
        from dlwidgets.compute.gradient_flow.picture import row_at, rows_of

        row = row_at(flow, self.step)
        rows, parameters = ([], []) if self._finding is None else rows_of(flow, flow.verdicts[self._finding])
        if self.position is not None and self.position >= len(flow.positions):  # attached again: another record
            with self._assigning():
                self.position = None
        with self._assigning():
            self._show_controls(row)
            self._pictures.show_heat(flow, self.quantity)
            self._pictures.show_step(flow, row)
            self._pictures.parameters.show(flow, self.parameter_quantity, row)
            self._pictures.show_history(flow, self.position)
            self._pictures.calls.show(flow, self.position, row)
            self._pictures.select(self.position, row, rows, parameters)
        self._about.value = "" if self.position is None else describe_position(flow, self.position, row)
        self._pictures.heat.alt = describe_flow(flow)

    def _show_controls(self, row: int) -> None:
        flow = self.result
        if self._slider.max != len(flow.steps) - 1:
            self._slider.max = len(flow.steps) - 1
            self._slider.send_state("max")  # by itself: a browser that hears of the value first cuts it to the old end
        self._slider.value = row
        self._shown_step.value = f"step {int(flow.steps[row]):,}"
        self._follow.value = self.step is None
        self._quantity_choice.value = self.quantity
        self._pictures.parameters.choice.value = self.parameter_quantity
        self._label(self._pictures.parameters.chart.figure, f"{self.parameter_quantity} by parameter")
        options = [("none", NOBODY), *[(f"{i}: {name}", i) for i, name in enumerate(position_names(flow))]]
        if len(options) != len(self._position_choice.options):
            self._position_choice.options = options
        self._position_choice.value = NOBODY if self.position is None else self.position

    def _describe(self) -> str:
        return describe_flow(self.result)
