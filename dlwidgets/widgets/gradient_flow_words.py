"""What GradientFlowMeter says in words."""

import math
from typing import TYPE_CHECKING

from dlwidgets.widgets.base import visible

if TYPE_CHECKING:
    from dlwidgets.compute.gradient_flow import GradientFlow, Meter, Overhead, Profile, ResidualFilters, Training

HINT = "Point at a cell for its number; click it to see that position and that step. Rows run from input to output."
FUNCTIONAL = "Positions are modules: what forward calls as a function, such as torch.relu(x), has no row of its own."
NORMS = (
    "The gradient norm of a position is that of dL/d(its output), over the whole batch; that of a parameter is that of "
    "dL/d(parameter)."
)
NO_PARAMETERS = "This model has no parameters, so there is nothing in it to train."
NOTHING = "Nothing was seen, and nothing is watched now."
OTHER_OPTIMIZER = (
    "losses were logged, but no step has ended, because the optimizer that this meter was given has not stepped: "
    "give it the one that steps this model, or none."
)
BUDGETED = 64
"""From this step on the meter keeps to its budget."""
WAITING = "Nothing seen yet: train inside `with meter:`, or call meter.attach()."


def number(value: float) -> str:
    """Four significant digits."""
    return "–" if math.isnan(value) else f"{value:.4g}"


def percent(share: float) -> str:
    """A share in per cent, to two digits."""
    return "–" if math.isnan(share) else f"{float(f'{100 * share:.2g}'):g} %"


def position_names(flow: "GradientFlow") -> list[str]:
    """What each position is called."""
    return [visible(str(position)) for position in flow.positions]


def describe_parameters(flow: "GradientFlow", most: int = 12) -> str:
    """The names behind the numbers on the axis of parameters, the first ``most`` of them."""
    named = [f"{index}: {visible(name)}" for index, name in enumerate(flow.parameters[:most])]
    rest = "" if len(flow.parameters) <= most else f"; point at a dot for the other {len(flow.parameters) - most}"
    return f"Parameters: {', '.join(named)}{rest}." if named else ""


def describe_cost(overhead: "Overhead", last: int, drawing: float) -> str:
    """What the meter has taken of the training time up to the sampled step ``last``."""
    always = "steps 0, 1, 3, 7, … 63 are looked at whatever that costs"
    if last < BUDGETED:
        share = percent(float(overhead))
        return f"{always.capitalize()}: so far {share} of the training's own time, drawing {percent(drawing)}."
    return (
        f"The meter has taken {percent(overhead.recent)} of the last 10 s, {percent(float(overhead))} of the whole "
        f"training ({always}), drawing {percent(drawing)}."
    )


def describe_state(
    meter: "Meter", flow: "GradientFlow | None", drawing: float, late: bool, given: bool = False, replaced: bool = False
) -> str:
    """Whether the meter watches, what it has seen, and what it costs.

    ``late``: clicks are answered between cells; ``given``: it was told which optimizer ends the steps; ``replaced``:
    another meter has taken its place.
    """
    if flow is None or not len(flow.steps):
        state = "Watching: no step has ended yet." if meter.attached else NOTHING if replaced else WAITING
        if given and flow is not None and len(flow.loss) > 1:
            return f"{'Watching' if meter.attached else 'Done'}: {OTHER_OPTIMIZER}"
        return state if next(meter.model.parameters(), None) is not None else f"{state} {NO_PARAMETERS}"
    state, last = "Watching" if meter.attached else "Done", int(flow.steps[-1])
    seen = f"{meter.num_steps:,} steps so far, {len(flow.steps):,} of them sampled, the last one step {last:,}."
    note = " This kernel answers clicks when the cell has ended." if late and meter.attached else ""
    return f"{state}: {seen} {describe_cost(flow.overhead, last, drawing)}{note}"


def describe_position(flow: "GradientFlow", position: int, row: int) -> str:
    """All numbers of one position in one sampled step, and what the verdicts say about it."""
    from dlwidgets.compute.gradient_flow.picture import first_units, gradient_overflowed, used, verdicts_on

    def at(table: str) -> float:
        return float(getattr(flow, table)[row, position])

    where = f"{visible(str(flow.positions[position]))} in step {int(flow.steps[row]):,}"
    if not used(flow)[row, position]:
        text = f"{where}: not used."
    else:
        lost = bool(gradient_overflowed(flow)[row, position]) and math.isnan(at("gradient_norm"))
        text = f"{where}: gradient norm {'not a number' if lost else number(at('gradient_norm'))}; "
        if not math.isfinite(at("activation_mean")):
            text += "its activations are not all finite numbers."
        else:
            shares = ("zeros", "zero_fraction"), ("saturated", "saturated_fraction"), ("dead", "dead_fraction")
            parts = [f"activations {number(at('activation_mean'))} ± {number(at('activation_std'))}"]
            parts += [f"{percent(at(field))} {name}" for name, field in shares if not math.isnan(at(field))]
            text += f"{', '.join(parts)}."
    lines = [text]
    if position in flow.dead_units:
        units = flow.dead_units[position]
        first, count = first_units(units)
        listed = ", ".join(map(str, first)) + (", …" if count > len(first) else "")
        lines.append(f"Zero on every sample so far: {count:,} of {len(units):,} units ({listed}).")
    for shared in flow.shared:
        if position in shared.positions:
            call = shared.positions.index(position)
            lines.append(
                f"{visible(shared.parameter)} is used at {len(shared.positions)} positions: this one contributes a "
                f"gradient of norm {number(float(shared.gradient_norm[row, call]))}, "
                f"{number(float(shared.share[row, call]))} of the sum of squares over the calls."
            )
    verdicts = verdicts_on(flow, position)
    lines += [f"{verdict.kind}: {visible(verdict.sentence)}" for verdict in verdicts]
    return "\n".join(lines if verdicts else [*lines, "No verdict concerns this position."])


def describe_flow(flow: "GradientFlow | None") -> str:
    """The verdicts, one after the other."""
    if flow is None or not len(flow.steps):
        return WAITING
    seen = f"{len(flow.steps)} sampled steps at {len(flow.positions)} positions."
    return " ".join([seen, *(visible(verdict.sentence) for verdict in flow.verdicts)])


def describe_profile(profile: "Profile") -> str:
    """What a gradient profile at initialisation says, beside the theory."""
    first, last = float(profile.median[0]), float(profile.median[-1])
    theory = "no simple theory for it" if profile.factor is None else f"theory {profile.factor:.3f} per layer"
    if not (math.isfinite(first) and math.isfinite(last)):
        return f"The gradient, or the signal itself, grows beyond what float32 can hold, 3e38 ({theory})."
    if first == 0 or last == 0:
        return f"The gradient falls to exactly 0 on its way back: float32 holds nothing below 1e-45 ({theory})."
    return (
        f"From the last activation back to the first the gradient changes by a factor {number(first / last)}: "
        f"{profile.measured_factor:.3f} per layer ({theory.removesuffix(' per layer')}); "
        f"median of {len(profile.gradient_norm)} seeds."
    )


def describe_training(training: "Training | None", steps: int) -> str:
    """What a training run of ``steps`` has reached so far, against the best constant."""
    if training is None:
        return ""
    if training.diverged is not None:
        return f"The loss was not finite after {training.diverged} steps: the training exploded."
    done, last = int(training.step[-1]), float(training.ratio[-1])
    verdict = "no better than the best constant" if last > 0.95 else "better than the best constant"
    of = "" if done == steps else f" of {steps}"
    return f"After {done}{of} steps loss/var(y) is {last:.3f}: {verdict} (1)."


def describe_filters(filters: "ResidualFilters") -> str:
    """By how much the two filters differ from what the identity explains."""
    return (
        "Both fit the same target, so the plain filter is the residual one plus the identity: the difference is "
        f"a delta in each channel's own kernel, up to {filters.error:.1e}."
    )
