"""What ReceptiveFieldViewer says in words."""

from typing import TYPE_CHECKING

from dlwidgets.widgets.base import visible

if TYPE_CHECKING:
    from dlwidgets.compute.receptive_field import EffectiveField, Field
    from dlwidgets.compute.receptive_field.inspection import Inspection, Look

BADGES = {"exact": "dlw-badge-exact", "bound": "dlw-badge-bound", "whole": "dlw-badge-whole"}
"""The style classes of the three verdicts."""


def times(sizes: tuple[int, ...]) -> str:
    """Sizes as they are read aloud, such as ``56 × 56``."""
    return " × ".join(str(size) for size in sizes) if sizes else "1"


def number(value: float | None) -> str:
    """A size or jump without a needless fraction; a dash where there is none."""
    return "–" if value is None else f"{value:g}"


def verdict_of(field: "Field") -> str:
    """One of the `BADGES`: a superset, the whole input, or exact."""
    if field.status != "exact":
        return "bound"
    return "whole" if field.count == field.mask.numel() and field.count > 1 else "exact"


def badge_of(field: "Field") -> str:
    """The verdict in words, with the operation responsible."""
    verdict = verdict_of(field)
    reason = f", because of {visible(field.because)}" if field.because else ""
    if verdict == "bound":
        return f"bound: at most these pixels{reason}"
    return f"whole input{reason}" if verdict == "whole" else f"exact{reason}"


def describe_selection(look: "Look", unit: tuple[int, ...], field: "Field") -> str:
    """What the selected unit sees."""
    channel = "" if look.channel is None else f", channel {look.channel}"
    who = f"Unit {unit} of {visible(look.title)}{channel}"
    if field.box is None:
        return f"{who} sees nothing of the input."
    spans = " by ".join(f"{start} to {stop - 1}" for start, stop in field.box)
    sizes = times(tuple(stop - start for start, stop in field.box))
    total = field.mask.numel()
    most = "at most " if field.status != "exact" else ""
    return f"{who} sees {most}{field.count} of {total} positions: {spans}, {sizes} ({badge_of(field)})."


def describe_growth(inspection: "Inspection") -> str:
    """At which layer the field grew most, or became the whole input."""
    growth, names = inspection.growth, inspection.names
    if growth.most is None:
        return "No layer looks beyond one position."
    name = f"layer {visible(names[growth.most])} ({visible(inspection.net.layers[growth.most].kind)})"
    whole = growth.exceeds & ~growth.known
    if whole[growth.most]:
        return f"L{name[1:]} is global: it sees the whole input."
    before = growth.size[growth.most] - growth.step
    grew = f"The field grows most at {name}: from {number(before)} to {number(growth.size[growth.most])}."
    return f"{grew} Layer {visible(names[int(whole.argmax())])} is global." if whole.any() else grew


def describe_effective(effective: "EffectiveField", field: "Field | None") -> str:
    """How few positions make up most of the influence."""
    shares = ", ".join(f"{100 * share:.0f} % from {area}" for share, area in effective.areas.items())
    whole = "" if field is None else f" of {field.count} positions that can matter"
    inputs = "1 input" if effective.num_inputs == 1 else f"{effective.num_inputs} inputs"
    return f"Of the influence on this unit {shares}{whole} (mean over {inputs})."
