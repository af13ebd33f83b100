"""The laboratory of GradientFlowMeter: what depth, activation, initialisation and residual paths do to the gradient."""

import dataclasses
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import ipywidgets
import traitlets

from dlwidgets.compute.context import Cancelled
from dlwidgets.widgets.arrays import to_plot
from dlwidgets.widgets.assigning import Assigning
from dlwidgets.widgets.base import PROGRESS_INTERVAL, Exhibit
from dlwidgets.widgets.gradient_flow_charts import (
    BLUE,
    GREEN,
    ORANGE,
    Chart,
    Rims,
    put,
    put_hints,
    side_by_side,
    words_label,
)
from dlwidgets.widgets.gradient_flow_filters import FilterComparison
from dlwidgets.widgets.gradient_flow_words import describe_profile, describe_training
from dlwidgets.widgets.keys import keyed, show_keys

if TYPE_CHECKING:
    from dlwidgets.compute.gradient_flow import Profile, Training

CHOICES: dict[str, list[Any]] = {
    "width": [16, 32, 64, 128, 256],
    "activation": ["sigmoid", "tanh", "relu", "gelu"],
    "initialisation": ["default", "xavier", "kaiming"],
    "gain": [0.5, 1.0, 1.5, 2.0, 4.0],
    "normalisation": ["none", "batch", "layer"],
    "optimizer": ["sgd", "momentum", "adam"],
    "learning_rate": [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0],
}
"""What the controls offer, by field of `Configuration`; a value that is set from Python is added."""

STEPS = 400
"""How many steps the button trains."""


class NetworkPanel(Assigning, Exhibit):
    """One network of the laboratory: its gradient profile at initialisation, and how it trains.

    Args:
        configuration: a `Configuration`, or a dict of its fields; None for the 26-layer sigmoid network.

    Attributes:
        result: the `Profile` at initialisation.
        training: the `Training` of the last run for this configuration, None until there is one. It grows while the
            network trains, and keeps what was done when that is stopped.
        peers: the panels beside it, whose profiles are drawn on the same axis.

    Raises:
        TypeError, ValueError: as `Configuration` does.
    """

    configuration = traitlets.Any(help="The network and its training: a `Configuration`, or a dict of its fields.")

    def __init__(self, configuration: Any = None, **kwargs: Any) -> None:
        from dlwidgets.compute.gradient_flow import Configuration

        first = _to_configuration({} if configuration is None else configuration)
        super().__init__(**kwargs)
        self.training: Training | None = None
        self._stopped = False
        self.peers: Sequence[NetworkPanel] = ()
        self._drawn = 0.0
        self._fields = tuple(Configuration.__dataclass_fields__)
        self._build()
        self.observe(lambda _: self._on_configuration(), "configuration")
        self.configuration = first

    @traitlets.validate("configuration")
    def _check_configuration(self, proposal: Any) -> Any:
        return _to_configuration(proposal["value"])

    def name_it(self, letter: str, differences: Sequence[str]) -> None:
        """Head the panel with a letter and what it is, above all what sets it apart from its neighbour."""
        self._name.value = f"<h4>Network {letter}" + (f": {', '.join(differences)}" if differences else "") + "</h4>"
        self._name.layout.display = None

    def train(self) -> None:
        """Train for 400 steps in the background, as the button does; a second call begins anew."""
        from dlwidgets.compute.gradient_flow import train_laboratory

        self.training, self._stopped = None, False
        self._compute(
            train_laboratory,
            self.configuration,
            STEPS,
            lane="long",
            topic="training",
            then=self._took_training,
            published=self._took_some_training,
            failed=self._ended_early,
        )

    def _ended_early(self, error: BaseException) -> None:
        self._stopped = isinstance(error, Cancelled)
        self._show_training()

    # Making the parts, once

    def _build(self) -> None:
        self.add_class("dlw-flow")
        self.layout.flex = "1 1 340px"
        self._controls: dict[str, Any] = {
            "depth": ipywidgets.IntSlider(24, min=1, max=40, description="depth", layout={"width": "min(300px, 100%)"})
        }
        for name, values in CHOICES.items():
            self._controls[name] = ipywidgets.Dropdown(
                options=values,
                description="normalise" if name == "normalisation" else name.replace("_", " "),
                style={"description_width": "88px"},
                layout={"width": "178px"},
            )
        for name in ("residual", "shared"):
            text = "residual paths" if name == "residual" else "one shared layer"
            self._controls[name] = ipywidgets.Checkbox(description=text, indent=False, layout={"width": "150px"})
        self._button = ipywidgets.Button(description=f"train {STEPS} steps", layout={"width": "130px"})
        self._button.on_click(self._react(lambda _: self.train()))
        for name, control in self._controls.items():
            self._label(control, name.replace("_", " ").capitalize())
            control.observe(self._react(self._unless_assigning(partial(self._on_control, name))), "value")
        controls = ipywidgets.Box([*self._controls.values(), self._button])
        controls.add_class("dlw-flow-controls")
        self._chart = Chart("gradient at initialisation", "layer, input to output", log=True, height=260)
        self._spread = self._chart.band(BLUE)
        self._median = self._chart.line(BLUE)
        self._theory = self._chart.line(ORANGE, dashed=True)
        self._rims = Rims(self._chart)
        self._hints = self._chart.hints()
        self._curve = Chart("test loss / var(y)", "step", tick_format=".3~g", height=220)
        self._loss = self._curve.line(GREEN)
        self._best = self._curve.line(ORANGE, dashed=True)
        self._loss_hints = self._curve.hints()
        self._words, self._training_words = words_label(), words_label()
        self._words.layout.min_height = "4.2em"  # as many lines in both panels, so that their charts stay level
        self._profile_keyed = keyed(
            self._chart.figure,
            ("line", BLUE, "median of 5 seeds"),
            ("band", BLUE, "quartiles"),
            ("dashed", ORANGE, "theory for a small signal"),
            *Rims.KEYS,
        )
        self._curve_keyed = keyed(
            self._curve.figure, ("line", GREEN, "this network"), ("dashed", ORANGE, "the best constant")
        )
        self._name = ipywidgets.HTML(layout={"display": "none"})
        self.children = [
            self._name,
            controls,
            self._profile_keyed,
            self._words,
            self._curve_keyed,
            self._training_words,
        ]
        self._label(self._chart.figure, "Gradient norm by layer at initialisation")
        self._label(self._curve.figure, "Test loss over the variance of the targets")

    # What a person changes

    def _on_control(self, name: str, change: Any) -> None:
        self.configuration = dataclasses.replace(self.configuration, **{name: change["new"]})

    def _on_configuration(self) -> None:
        from dlwidgets.compute.gradient_flow import profile_at_initialisation

        self._stop()  # a training of the former network
        self.training, self._stopped = None, False
        with self._assigning():
            for name, control in self._controls.items():
                value = getattr(self.configuration, name)
                if name in CHOICES and value not in control.options:
                    control.options = sorted({*control.options, value})
                if name == "depth":
                    control.max = max(control.max, value)
                control.value = value
        self._compute(profile_at_initialisation, self.configuration)

    def _took_training(self, training: "Training") -> None:
        if training.configuration == self.configuration:
            self.training = training

    def _took_some_training(self, training: "Training") -> None:
        self._took_training(training)
        now = time.monotonic()
        if now - self._drawn >= PROGRESS_INTERVAL:
            self._drawn = now
            self._show_training()

    # Drawing

    def _render(self) -> None:
        if self.result is not None:
            self._show_profile(self.result)
        self._show_training()

    def _show_profile(self, profile: "Profile") -> None:
        from dlwidgets.compute.gradient_flow.picture import (
            index_ticks,
            log_curve,
            profile_band,
            profile_curve,
            profile_limits,
        )

        panels = [panel for panel in (self, *self.peers) if panel.result is not None]
        limits = profile_limits(*(panel.result for panel in panels))
        curves = [profile_curve(panel.result) for panel in panels]
        zeros, lost = (any(len(getattr(curve, name)) for curve in curves) for name in ("zero", "missing"))
        for panel, curve in zip(panels, curves, strict=True):
            panel._rims.limit(*limits, zeros=zeros, lost=lost)
            panel._rims.show(
                curve.zero.tolist(),
                curve.missing.tolist(),
                lambda layer, is_zero: f"layer {layer}: gradient norm {0 if is_zero else 'not finite'}",
            )
        self._chart.number(index_ticks(len(profile.layer)))
        median = profile_curve(profile)
        put(self._median, median)
        put_hints(self._hints, lambda layer: f"layer {layer}", (median, "gradient norm"))
        low, high = profile_band(profile)
        self._spread.x, self._spread.y = to_plot(low.x), to_plot([low.y.tolist(), high.y.tolist()])
        put(self._theory, log_curve(profile.median[:0] if profile.theory is None else profile.theory))
        show_keys(self._profile_keyed, True, True, profile.theory is not None, *self._rims.shown)
        self._words.value = " ".join(filter(None, (describe_profile(profile), describe_doubt(profile))))

    def _show_training(self) -> None:
        from dlwidgets.compute.gradient_flow.picture import (
            best_constant_curve,
            index_ticks,
            leaving,
            training_curve,
            training_limits,
        )

        training = self.training
        words = describe_training(training, STEPS)
        self._training_words.value = f"{words} It was stopped there." if words and self._stopped else words
        self._curve.limit(*training_limits(training))
        self._curve.number(index_ticks(STEPS + 1))
        curve = training_curve(training)
        drawn, leaves = leaving(curve)
        put(self._loss, drawn)
        self._curve.figure.title = "test loss / var(y), leaving the chart" if leaves else "test loss / var(y)"
        show_keys(self._curve_keyed, len(curve.x) > 0, True)
        put_hints(self._loss_hints, lambda step: f"step {step}", (curve, "loss/var(y)"))
        put(self._best, best_constant_curve(STEPS))

    def _describe(self) -> str:
        return " ".join(filter(None, (self._words.value, self._training_words.value)))


class GradientLaboratory(Exhibit):
    """Two networks side by side, and a plain filter beside a residual one; made by `GradientFlowMeter.laboratory`.

    Args:
        left, right: what the two networks begin with, each a `Configuration` or a dict of its fields. Without them they
            differ in one thing: sigmoid against tanh, 24 times the same layer.
        **kwargs: traits of the box, such as ``layout``.

    Attributes:
        left, right: the two `NetworkPanel`.
        filters: the `FilterComparison`.

    Raises:
        TypeError, ValueError: as `Configuration` does.
    """

    def __init__(self, left: Any = None, right: Any = None, **kwargs: Any) -> None:
        left = _to_configuration({"shared": True} if left is None else left)
        right = _to_configuration({"activation": "tanh", "shared": True} if right is None else right)
        super().__init__(**kwargs)
        self.left, self.right = NetworkPanel(left), NetworkPanel(right)
        self.left.peers, self.right.peers = (self.right,), (self.left,)
        self.filters = FilterComparison()
        for panel in (self.left, self.right):
            panel.observe(lambda _: self._name_panels(), "configuration")
        self._name_panels()
        self.children = [
            _heading("Two networks, before and while they train"),
            side_by_side(self.left, self.right),
            _heading("A plain filter beside a residual one"),
            self.filters,
        ]

    def wait(self, timeout: float | None = None) -> None:
        """Return once everything asked for is computed and drawn; see `Exhibit.wait`."""
        for part in (self.left, self.right, self.filters):
            part.wait(timeout)

    def _name_panels(self) -> None:
        """Which network is which, by what they differ in; below each other on a phone one cannot see both.

        One shared layer is named in any case.
        """
        a, b = self.left.configuration, self.right.configuration
        names = [name for name in vars(a) if getattr(a, name) != getattr(b, name)]
        if a.shared and b.shared:
            names.append("shared")  # nobody would guess it
        for letter, panel in (("A", self.left), ("B", self.right)):
            panel.name_it(letter, [_say(name, getattr(panel.configuration, name)) for name in names])

    def _describe(self) -> str:
        return f"A: {self.left._describe()} B: {self.right._describe()} {self.filters._describe()}"


def describe_doubt(profile: "Profile") -> str:
    """Why the theory is far from what was measured, as far as the measured slopes tell; empty where it is not far."""
    if profile.theory_holds is not False or profile.slope is None or profile.factor_at_slope is None:
        return ""
    parts = []
    if profile.slope_matters:
        parts.append(
            f"The theory takes the slope of {profile.configuration.activation} for a small signal, "
            f"{profile.small_slope:.2f}; at the units' own signals it is {profile.slope:.2f}, which makes "
            f"{profile.factor_at_slope:.3f} per layer."
        )
    if not profile.slope_explains:
        shared = "; here one layer is used again and again" if profile.configuration.shared else ""
        rest = "The rest" if parts else "That"
        parts.append(f"{rest} is beyond it: it takes many units a layer, and new weights at each{shared}.")
    return " ".join(parts)


def _say(name: str, value: Any) -> str:
    """A field of a configuration in words."""
    if name in ("residual", "shared"):
        words = {"residual": "residual paths", "shared": "one shared layer"}[name]
        return words if value else f"no {words}" if name == "residual" else "a layer of its own at each depth"
    return f"{name.replace('_', ' ')} {value}"


def _heading(text: str) -> ipywidgets.HTML:
    return ipywidgets.HTML(f"<h3>{text}</h3>")


def _to_configuration(value: Any) -> Any:
    from dlwidgets.compute.gradient_flow import Configuration

    if isinstance(value, Configuration):
        return value
    if not isinstance(value, dict):
        raise TypeError(f"configuration must be a Configuration or a dict of its fields, got {type(value).__name__}")
    names = tuple(Configuration.__dataclass_fields__)
    unknown = sorted(set(value) - set(names))
    if unknown:
        raise ValueError(f"configuration has no field {unknown[0]!r}; its fields are {', '.join(names)}")
    return Configuration(**value)
