"""What the numbers mean: findings, each with its evidence and a plain sentence, by thresholds that all can see."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from .result import GradientFlow, Position


@dataclass(frozen=True)
class Thresholds:
    """The limits that the verdicts use; make your own and hand them to `watch`.

    Attributes
    ----------
    vanishing: float
        A position is vanishing when its gradient norm is below this share of the largest at any later position.
    exploding: float
        A position is exploding when its gradient norm is above this multiple of the smallest at any later position; so
        is a run in which the gradient at the last position has grown by this factor since the first sampled step.
    dead_fraction: float
        Dead units are reported from this share of a position's units on.
    dead_values: int
        A unit must have been seen on at least so many values (samples, times places in an image) to be called dead.
    saturated_fraction: float
        A position is saturated when at least this share of its elements is; not where a function is flat on one side by
        design (rectifiers): there a large share is no fault, and `GradientFlow.saturated_fraction` alone tells it.
    lost_fraction: float
        An update is lost to rounding when at least this share of the elements that have a gradient stays as it was.
    shared_calls: int
        A module with parameters is called shared from so many calls in one forward pass on.
    dominated: float
        From this share on one call is said to contribute nearly all of a shared gradient.
    largest: float
        An activation's mean, a gradient's norm or a loss is not finite when it is nan or not below this in size.
    unused_steps: int
        A parameter is unused when no gradient arrived in at least so many sampled steps, and in none.
    frozen_parameters: int
        Frozen parameters are reported from so many on.
    window: int
        The verdicts on gradients, saturation and updates look at the median of so many last sampled steps.
    """

    vanishing: float = 1e-3
    exploding: float = 1e3
    dead_fraction: float = 0.01
    dead_values: int = 16
    saturated_fraction: float = 0.5
    lost_fraction: float = 0.5
    shared_calls: int = 2
    dominated: float = 0.9
    largest: float = math.inf
    unused_steps: int = 1
    frozen_parameters: int = 1
    window: int = 8

    def __post_init__(self) -> None:
        """Refuse limits that no number can meet."""
        for name in (
            "vanishing",
            "exploding",
            "dead_fraction",
            "saturated_fraction",
            "lost_fraction",
            "dominated",
            "largest",
        ):
            value = getattr(self, name)
            if not (isinstance(value, (int, float)) and value > 0):
                raise ValueError(f"{name} must be a number above 0, got {value!r}")
        for name in ("dead_values", "shared_calls", "unused_steps", "frozen_parameters", "window"):
            value = getattr(self, name)
            if not (isinstance(value, int) and value > 0):
                raise ValueError(f"{name} must be a positive integer, got {value!r}")

    def finite(self, value: float) -> bool:
        """Whether ``value`` is a number below `largest` in size."""
        return abs(value) < self.largest


@dataclass(frozen=True)
class Verdict:
    """A finding.

    Attributes
    ----------
    kind: str
        "vanishing", "exploding", "dead units", "saturated", "frozen", "unused", "update lost to rounding", "shared
        module" or "non-finite".
    sentence: str
        The finding in plain words.
    evidence: dict[str, float]
        The numbers it rests on, among them the threshold.
    positions: tuple[Position, ...]
        The positions it concerns, the worst first.
    parameters: tuple[str, ...]
        The names of the parameters it concerns.
    step: int | None
        The step it happened in, if it is about one.
    """

    kind: str
    sentence: str
    evidence: dict[str, float]
    positions: tuple[Position, ...] = ()
    parameters: tuple[str, ...] = ()
    step: int | None = None

    def __str__(self) -> str:
        """The sentence."""
        return self.sentence


@dataclass(eq=False)
class Background:
    """What the verdicts know besides the tables."""

    saturates: list[bool] = field(default_factory=list)  # by position: has a derivative of its own
    rests: list[bool] = field(default_factory=list)  # flat on one side by design
    passes_on: list[bool] = field(
        default_factory=list
    )  # its zeros are somebody else's (pooling, dropout, ...), or weights'
    frozen: tuple[str, ...] = ()
    trained: tuple[str, ...] = ()
    graded: set[int] = field(default_factory=set)  # parameters to which a gradient came, be it nan
    nonfinite_position: int | None = None
    values: dict[int, float] = field(default_factory=dict)  # values seen per unit

    def add(self, saturates: bool, rests: bool, passes_on: bool) -> None:
        """A new position."""
        self.saturates.append(saturates)
        self.rests.append(rests)
        self.passes_on.append(passes_on)

    def saw(self, count: np.ndarray, num_units: dict[int, int]) -> None:
        """So many elements at each position, which has so many units."""
        for at, units in num_units.items():
            if at < len(count) and units:
                self.values[at] = self.values.get(at, 0.0) + float(count[at]) / units


def judge(flow: GradientFlow, background: Background) -> tuple[Verdict, ...]:
    """All findings about ``flow``, the most urgent kinds first."""
    if not len(flow.steps) and flow.nonfinite is None:
        return ()
    return tuple(
        verdict
        for find in (_nonfinite, _exploding, _vanishing, _shared, _dead, _saturated, _lost, _unused, _frozen)
        for verdict in find(flow, background)
    )


def _recent(table: Tensor, window: int) -> np.ndarray:
    """The median over the last sampled steps, column by column; nan where there was nothing."""
    rows = table[-window:].numpy()
    result = np.full(rows.shape[1], np.nan)
    for column in range(rows.shape[1]):
        values = rows[:, column]
        values = values[~np.isnan(values)]
        if len(values):
            # the middle one that really occurred: of two, the lower
            result[column] = np.sort(values)[(len(values) - 1) // 2]
    return result


def _median(flow: GradientFlow) -> str:
    """What `_recent` has given, as a sentence to follow; empty for a single step."""
    number = min(flow.thresholds.window, len(flow.steps))
    return f" Median of the last {number} sampled steps." if number > 1 else ""


def _and_more(names: list[str], most: int = 3) -> str:
    shown = ", ".join(names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


def _named(flow: GradientFlow, indices: Iterable[int]) -> tuple[Position, ...]:
    return tuple(flow.positions[int(i)] for i in indices)


def _nonfinite(flow: GradientFlow, background: Background) -> Iterator[Verdict]:
    if flow.nonfinite is None:
        return
    step, what = flow.nonfinite
    limit = flow.thresholds.largest
    how = "not finite (nan or infinite)" if limit == math.inf else f"not below {limit:g} in size"
    sentence = f"In step {step} {what} was {how} for the first time."
    at = background.nonfinite_position
    about_loss = what.startswith("the loss")
    positions = () if at is None or about_loss else (flow.positions[at],)
    evidence = {"step": float(step), "threshold": limit}
    if about_loss:
        evidence["loss"] = next(value for value in flow.loss.tolist() if not flow.thresholds.finite(value))
    yield Verdict("non-finite", sentence, evidence, positions, step=step)


def _later(values: np.ndarray, largest: bool) -> np.ndarray:
    """For each position the largest (or smallest) of the finite values at later positions; nan for the last."""
    result = np.full(len(values), np.nan)
    best = math.nan
    for i in range(len(values) - 1, -1, -1):
        result[i] = best
        value = values[i]
        if math.isfinite(value) and (math.isnan(best) or (value > best if largest else value < best)):
            best = value
    return result


def _chain(positions: tuple[Position, ...], worst: int, later: int, ratio: float) -> str:
    layers = abs(later - worst)
    text = f"{ratio:.1e} of that at {positions[later]}"
    if ratio > 0 and layers > 1:
        text += f", {layers} positions later: a factor {ratio ** (1 / layers):.3f} per position"
    return text


def _vanishing(flow: GradientFlow, background: Background) -> Iterator[Verdict]:
    del background
    limits = flow.thresholds
    gradient = _recent(flow.gradient_norm, limits.window)
    later = _later(gradient, largest=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(later > 0, gradient / later, np.nan)
    found = np.flatnonzero(ratio < limits.vanishing)
    if not len(found):
        return
    worst = int(found[np.argmin(ratio[found])])
    where = int(next(i for i in range(worst + 1, len(gradient)) if gradient[i] == later[worst]))
    value = float(ratio[worst])
    sentence = (
        f"The gradient vanishes: at {flow.positions[worst]} its norm is {gradient[worst]:.1e}, "
        f"{_chain(flow.positions, worst, where, value)}."
    )
    if value == 0.0:
        sentence = f"The gradient vanishes: at {flow.positions[worst]} it is exactly zero."
    sentence += _median(flow)
    evidence = {
        "gradient_norm": float(gradient[worst]),
        "later_gradient_norm": float(later[worst]),
        "ratio": value,
        "factor_per_position": value ** (1 / (where - worst)),
        "num_positions": float(len(found)),
        "threshold": limits.vanishing,
    }
    order = found[np.argsort(ratio[found], kind="stable")]
    yield Verdict("vanishing", sentence, evidence, _named(flow, order))


def _exploding(flow: GradientFlow, background: Background) -> Iterator[Verdict]:
    del background
    limits = flow.thresholds
    gradient = _recent(flow.gradient_norm, limits.window)
    positive = np.where(gradient > 0, gradient, np.nan)
    later = _later(positive, largest=False)
    with np.errstate(invalid="ignore", over="ignore"):
        ratio = positive / later
    # a position before a vanished one is not exploding: the gradient must exceed that at the end as well
    arrived = np.flatnonzero(np.isfinite(positive))
    end = positive[arrived[-1]] if len(arrived) else np.nan
    with np.errstate(invalid="ignore"):
        found = np.flatnonzero((ratio > limits.exploding) & (positive > limits.exploding * end))
    if len(found):
        worst = int(found[np.argmax(positive[found])])
        last = int(arrived[-1])
        value = float(positive[worst] / end)
        layers = last - worst
        sentence = (
            f"The gradient explodes on its way back: at {flow.positions[worst]} its norm is {positive[worst]:.1e}, "
            f"{value:.1e} times that at {flow.positions[last]}, {layers} positions later: "
            f"a factor {value ** (1 / layers):.2f} per position.{_median(flow)}"
        )
        evidence = {
            "gradient_norm": float(positive[worst]),
            "later_gradient_norm": float(end),
            "ratio": value,
            "factor_per_position": value ** (1 / layers),
            "num_positions": float(len(found)),
            "threshold": limits.exploding,
        }
        order = found[np.argsort(-positive[found], kind="stable")]
        yield Verdict("exploding", sentence, evidence, _named(flow, order))
    yield from _growing(flow)


def _growing(flow: GradientFlow) -> Iterator[Verdict]:
    limits = flow.thresholds
    table = flow.gradient_norm.numpy()
    for last in range(table.shape[1] - 1, -1, -1):
        steps = np.flatnonzero(np.isfinite(table[:, last]) & (table[:, last] > 0))
        if len(steps) < 2:
            continue
        first, worst = table[steps[0], last], int(steps[np.argmax(table[steps, last])])
        growth = float(table[worst, last] / first)
        if growth > limits.exploding:
            step = int(flow.steps[worst])
            sentence = (
                f"The gradient explodes in time: at {flow.positions[last]} its norm grew from {first:.1e} in step "
                f"{int(flow.steps[steps[0]])} to {table[worst, last]:.1e} in step {step}. "
                "A smaller learning rate may help."
            )
            evidence = {
                "first": float(first),
                "largest": float(table[worst, last]),
                "ratio": growth,
                "step": float(step),
            }
            yield Verdict(
                "exploding", sentence, evidence | {"threshold": limits.exploding}, _named(flow, [last]), step=step
            )
        return


def _shared(flow: GradientFlow, background: Background) -> Iterator[Verdict]:
    del background
    limits = flow.thresholds
    groups: dict[tuple[int, ...], list[int]] = {}
    for i, shared in enumerate(flow.shared):
        if len(shared.positions) >= limits.shared_calls:
            groups.setdefault(shared.positions, []).append(i)
    for positions, members in groups.items():
        largest = max(members, key=lambda i: _mean_norm(flow.shared[i].gradient_norm))
        shared = flow.shared[largest]
        names = tuple(flow.shared[i].parameter for i in members)
        share = _recent(shared.share, limits.window)
        norm = _recent(shared.gradient_norm, limits.window)
        if np.isnan(share).all():
            continue
        modules = list(dict.fromkeys(flow.positions[i].module for i in positions))
        kinds = flow.positions[positions[0]].kind
        what = f"{kinds} {modules[0]!r} is one module" if len(modules) == 1 else f"{shared.parameter} is one parameter"
        top = int(np.nanargmax(share))
        call = flow.positions[positions[top]]
        which = "the last call" if top == len(positions) - 1 else "the first call" if top == 0 else f"{call}"
        weights = "one weight" if len(names) > 1 or names[0].endswith("weight") else "one parameter"
        squares = f"{share[top]:.1%} of the sum of squares over the calls"
        if share[top] >= limits.dominated:
            split = f"nearly all of its gradient ({squares}) comes from {which}"
        else:
            split = f"the largest part of its gradient ({squares}) comes from {which}"
        split += f"; the first call contributes a gradient of norm {norm[0]:.1e}, the last one of {norm[-1]:.1e}"
        evidence = {
            "num_positions": float(len(positions)),
            "largest_share": float(share[top]),
            "first_share": float(share[0]),
            "last_share": float(share[-1]),
            "first_gradient_norm": float(norm[0]),
            "last_gradient_norm": float(norm[-1]),
            "threshold": limits.dominated,
        }
        if shared.parameter in flow.parameters:
            column = flow.parameters.index(shared.parameter)
            evidence["parameter_gradient_norm"] = float(_recent(flow.parameter_gradient_norm, limits.window)[column])
        sentence = f"{what} at {len(positions)} positions: {len(positions)} positions, {weights}; {split}."
        sentence += _median(flow)
        yield Verdict("shared module", sentence, evidence, _named(flow, positions), names)


def _mean_norm(table: Tensor) -> float:
    values = table.numpy()
    values = values[np.isfinite(values)]
    return float(values.max()) if len(values) else 0.0


def _dead(flow: GradientFlow, background: Background) -> Iterator[Verdict]:
    limits = flow.thresholds
    for at, dead in flow.dead_units.items():
        values = background.values.get(at, 0.0)
        share = float(dead.double().mean())
        if background.passes_on[at] or share < limits.dead_fraction or values < limits.dead_values:
            continue
        number = int(dead.sum())
        sentence = (
            f"{number} of {len(dead)} units of {flow.positions[at]} are dead: zero on every one of the "
            f"{int(values)} values seen of each, so no gradient passes through them."
        )
        evidence = {
            "num_dead": float(number),
            "num_units": float(len(dead)),
            "dead_fraction": share,
            "values_per_unit": values,
            "threshold": limits.dead_fraction,
        }
        yield Verdict("dead units", sentence, evidence, _named(flow, [at]))


def _saturated(flow: GradientFlow, background: Background) -> Iterator[Verdict]:
    limits = flow.thresholds
    share = _recent(flow.saturated_fraction, limits.window)
    with np.errstate(invalid="ignore"):
        found = np.flatnonzero((share >= limits.saturated_fraction) & ~np.array(background.rests, dtype=bool))
    if not len(found):
        return
    order = found[np.argsort(-share[found], kind="stable")]
    worst = int(order[0])
    more = f" (and {len(order) - 1} more positions above {limits.saturated_fraction:.0%})" if len(order) > 1 else ""
    sentence = (
        f"{share[worst]:.1%} of the outputs of {flow.positions[worst]} are saturated{more}: "
        f"there the derivative is below 1 % of its maximum.{_median(flow)}"
    )
    evidence = {
        "saturated_fraction": float(share[worst]),
        "num_positions": float(len(order)),
        "threshold": limits.saturated_fraction,
    }
    yield Verdict("saturated", sentence, evidence, _named(flow, order))


def _lost(flow: GradientFlow, background: Background) -> Iterator[Verdict]:
    del background
    limits = flow.thresholds
    share = _recent(flow.lost_fraction, limits.window)
    found = np.flatnonzero(share >= limits.lost_fraction)
    if not len(found):
        return
    order = found[np.argsort(-share[found], kind="stable")]
    worst = int(order[0])
    ratio = _recent(flow.update_ratio, limits.window)[worst]
    names = [flow.parameters[i] for i in order]
    sentence = (
        f"Updates are lost to rounding in {_and_more(names)}: {share[worst]:.1%} of the elements of {names[0]} that "
        f"have a gradient stay exactly as they were, the update being below one ulp of the weight.{_median(flow)}"
    )
    evidence = {
        "lost_fraction": float(share[worst]),
        "update_ratio": float(ratio),
        "num_parameters": float(len(order)),
        "threshold": limits.lost_fraction,
    }
    yield Verdict("update lost to rounding", sentence, evidence, parameters=tuple(names))


def _unused(flow: GradientFlow, background: Background) -> Iterator[Verdict]:
    least = flow.thresholds.unused_steps
    if not background.graded or len(flow.steps) < least:
        return
    trained = set(background.trained)
    names = [name for i, name in enumerate(flow.parameters) if name in trained and i not in background.graded]
    if names:
        sentence = (
            f"{_and_more(names)}: no gradient ever arrived in the {len(flow.steps)} sampled steps. "
            "There is no path from the loss back to it: unused, detached or overwritten."
        )
        evidence = {"num_parameters": float(len(names)), "num_steps": float(len(flow.steps)), "threshold": float(least)}
        yield Verdict("unused", sentence, evidence, parameters=tuple(names))


def _frozen(flow: GradientFlow, background: Background) -> Iterator[Verdict]:
    names, least = background.frozen, flow.thresholds.frozen_parameters
    number = len(names)
    if number >= least:
        sentence = f"{_and_more(list(names))}: frozen (requires_grad is off), so no training changes " + (
            "them." if number > 1 else "it."
        )
        evidence = {
            "num_parameters": float(number),
            "num_trained": float(len(background.trained)),
            "threshold": float(least),
        }
        yield Verdict("frozen", sentence, evidence, parameters=names)
