"""What pictures of a `GradientFlow` show: which steps fit, which numbers a log axis can hold, and the words beside."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from .laboratory import Profile, ResidualFilters, Training
from .result import GradientFlow, Position, SharedParameter
from .verdicts import Verdict

MAX_COLUMNS = 240
"""A heat map shows at most so many of the sampled steps, evenly chosen, the first and the last among them."""

MAX_RUNS = 4
"""So many runs of a heat map's rows are outlined in full."""

HEALTHY = (3e-4, 3e-3)
"""The band around 1e-3 in which the updates of a network that learns well mostly lie, as a share of the weights."""

SMALLEST, LARGEST = 1e-44, 1e36
"""What a picture's float32 numbers can hold; what lies beyond is drawn at the rim."""


RIM = 0.08
"""How far beyond a log axis stands what it cannot hold, as a share of its length: there on no line of its grid."""


class Quantity(NamedTuple):
    """A table of `GradientFlow` by position: its field, and whether its numbers span powers of ten."""

    field: str
    logarithmic: bool


QUANTITIES = {
    "gradient norm": Quantity("gradient_norm", True),
    "activation std": Quantity("activation_std", True),
    "activation mean": Quantity("activation_mean", False),
    "zeros": Quantity("zero_fraction", False),
    "saturated": Quantity("saturated_fraction", False),
    "dead units": Quantity("dead_fraction", False),
}

PARAMETER_QUANTITIES = {
    "update / weight": "update_ratio",
    "gradient norm": "parameter_gradient_norm",
    "weight norm": "weight_norm",
}
"""Tables of `GradientFlow` by parameter: the field of each. All span powers of ten."""

SHARES = ("zero_fraction", "saturated_fraction", "dead_fraction")
"""Fields that say nothing where the activations are not finite."""


@dataclass(frozen=True, eq=False)
class Curve:
    """The points that can be drawn: ``x`` and ``y`` without those where y is nan, or, on a log axis, not above 0.

    ``zero`` holds the x of those on a log axis that are exactly 0, ``missing`` of those that are infinite. ``low`` and
    ``high`` are the powers of ten around y, ``ticks`` at most six of the powers between. ``lone`` says which points
    have no neighbour that can be drawn, so that no line reaches them.
    """

    x: Float[Tensor, "point"]
    y: Float[Tensor, "point"]
    zero: Float[Tensor, "zero"]
    missing: Float[Tensor, "missing"]
    low: float
    high: float
    ticks: tuple[float, ...]
    lone: Bool[Tensor, "point"]

    def where(self, chosen: Bool[Tensor, "point"]) -> "Curve":
        """The curve with the chosen of its points only."""
        return replace(self, x=self.x[chosen], y=self.y[chosen], lone=self.lone[chosen])


@dataclass(frozen=True, eq=False)
class ColorBar:
    """One row of numbers from the least to the greatest of a heat map, and where on it which labels stand, in cells.

    Places are eighths of a cell, which a browser writes as Python does.
    """

    strip: Float[Tensor, "1 cell"]
    at: tuple[float, ...]
    labels: tuple[str, ...]


def color_bar(image: Float[Tensor, "row column"], logarithmic: bool, cells: int = 128) -> ColorBar | None:
    """The colours of ``image`` from end to end; if ``logarithmic`` it holds exponents, labelled as powers of ten.

    None where no two finite numbers differ: there is nothing to tell apart then.
    """
    finite = image[image.isfinite()].double()
    if not len(finite) or float(finite.min()) == float(finite.max()):
        return None
    low, high = float(finite.min()), float(finite.max())
    if logarithmic and math.floor(high) - math.ceil(low) >= 1:
        first, last = math.ceil(low), math.floor(high)
        numbers = [float(n) for n in range(first, last + 1, max(1, math.ceil((last - first) / 4)))]
        labels = [f"1e{int(n):+d}" for n in numbers]  # as the axes have it
    elif logarithmic:
        numbers = [low, high]
        labels = [re.sub("e([+-])0", r"e\1", f"{10.0**n:.1e}") for n in numbers]
    else:
        numbers = round_ticks(low, high, 5)
        labels = [f"{n:.3g}" for n in numbers]
    strip = torch.linspace(low, high, cells, dtype=torch.float64)[None]
    return ColorBar(strip, tuple(round((n - low) / (high - low) * cells * 8) / 8 for n in numbers), tuple(labels))


def thinned(count: int, most: int = MAX_COLUMNS) -> list[int]:
    """At most ``most`` of the indices below ``count``, evenly chosen, the first and the last among them."""
    if count <= most:
        return list(range(count))
    return sorted({round(i * (count - 1) / (most - 1)) for i in range(most)})


def drawn_steps(flow: GradientFlow) -> list[int]:
    """The rows of the tables that a heat map shows as columns."""
    return thinned(len(flow.steps))


def history_curve(flow: GradientFlow, position: int) -> Curve:
    """The gradient norm of a position over the steps that a heat map shows."""
    rows = drawn_steps(flow)
    curve = log_curve(flow.gradient_norm[rows, position], flow.steps[rows])
    lost = flow.steps[rows][gradient_overflowed(flow)[rows, position]].double()
    return replace(curve, missing=lost)


def loss_curve(flow: GradientFlow) -> Curve:
    """The logged losses over their steps, thinned where there are many; ``missing`` are those that are not finite."""
    rows = thinned(len(flow.loss))
    values, steps = flow.loss[rows], flow.loss_steps[rows]
    return replace(linear_curve(values, steps), missing=steps[~values.isfinite()].double())


def used(flow: GradientFlow) -> Bool[Tensor, "step position"]:
    """Where a position was called in a step: zeros are counted there, be the numbers finite or not."""
    return ~flow.zero_fraction.isnan()


def gradient_overflowed(flow: GradientFlow) -> Bool[Tensor, "step position"]:
    """Where a gradient arrived that is infinite or not a number."""
    return _overflowed(flow, flow.gradient_norm, used(flow))


def parameter_lost(flow: GradientFlow, field: str) -> Bool[Tensor, "step parameter"]:
    """Where a number of a parameter is infinite or not a number."""
    table: Tensor = getattr(flow, field)
    return _overflowed(flow, table, torch.ones_like(table, dtype=torch.bool))


def _overflowed(
    flow: GradientFlow, table: Float[Tensor, "step column"], possible: Bool[Tensor, "step column"]
) -> Bool[Tensor, "step column"]:
    """A nan says as well that there was no number: one was lost only from the first step on in which anything was not
    finite, in columns that had numbers before (in all of them if there was no step before).
    """
    lost = table.isinf()
    if flow.nonfinite is not None:
        late = flow.steps >= flow.nonfinite[0]
        reached = (~table.isnan()).any(0) | bool(late.all())
        lost |= table.isnan() & possible & late[:, None] & reached
    return lost


def activation_shares(flow: GradientFlow, field: str) -> Float[Tensor, "step position"]:
    """Shares of elements or of units, nan where the activations are not finite: those have no share."""
    return getattr(flow, field).where(flow.activation_mean.isfinite(), math.nan)


REASONS = (
    "not used in this step",
    "no gradient arrived in this step",
    "{} is not a number",
    "has no derivative of its own: nothing to saturate",
)
"""Why a cell of a heat map is empty; the braces stand for its quantity."""


def why_missing(flow: GradientFlow, quantity: str, columns: Sequence[int]) -> UInt8[Tensor, "position column"]:
    """For the cells of `heat_map`, which of `REASONS` holds if there is no number."""
    field = QUANTITIES[quantity].field
    here, lost = used(flow), gradient_overflowed(flow)
    if field == "gradient_norm":
        why = torch.where(lost, 2, 1)
    elif field in ("activation_mean", "activation_std"):
        why = torch.full(here.shape, 2)
    else:
        broken = here & ~flow.activation_mean.isfinite() & ~getattr(flow, field).isnan().all(0)
        why = torch.where(broken, 2, 3)
    return why.where(here, 0)[list(columns)].T.to(torch.uint8)


def last_finite_row(flow: GradientFlow, positions: Sequence[int], row: int) -> int:
    """``row`` if a gradient of ``positions`` is finite there, else the last row at which all (or any) of theirs are."""
    finite = flow.gradient_norm[:, list(positions)].isfinite()
    if not len(positions) or finite[row].any():
        return row
    for rows in (finite.all(1), finite.any(1)):
        if rows.any():
            return int(rows.nonzero()[-1])
    return row


def row_at(flow: GradientFlow, step: int | None) -> int:
    """The row of the last sampled step up to ``step``; the last row for None, -1 if nothing was sampled."""
    if step is None or not len(flow.steps):
        return len(flow.steps) - 1
    return max(0, int(torch.searchsorted(flow.steps, step, right=True)) - 1)


def column_at(columns: Sequence[int], row: int) -> int:
    """The heat map's column that shows ``row``, or the last one before it."""
    return max(0, int(np.searchsorted(np.asarray(columns), row, side="right")) - 1)


def heat_map(flow: GradientFlow, quantity: str, columns: Sequence[int]) -> Float[Tensor, "position column"]:
    """The numbers of a heat map: the common logarithm where the quantity spans powers of ten (-inf for 0)."""
    field, logarithmic = QUANTITIES[quantity]
    table = activation_shares(flow, field) if field in SHARES else getattr(flow, field)
    table = table[list(columns)].T
    return table.log10() if logarithmic else table


def log_curve(values: Float[Tensor, "point"], x: Tensor | None = None) -> Curve:
    """``values`` over ``x`` (0, 1, 2, ... if left out) for a log axis."""
    places = torch.arange(len(values), dtype=torch.float64) if x is None else x.double()
    drawable = torch.isfinite(values) & (values > 0)
    y = values[drawable].clamp(SMALLEST, LARGEST)
    low, high = decades(y)
    zero, missing = places[values == 0], places[torch.isinf(values)]
    return Curve(places[drawable], y, zero, missing, low, high, powers_of_ten(low, high), _lone(drawable))


def linear_curve(values: Float[Tensor, "point"], x: Tensor | None = None) -> Curve:
    """``values`` over ``x`` for a linear axis."""
    places = torch.arange(len(values), dtype=torch.float64) if x is None else x.double()
    drawable = torch.isfinite(values)
    y = values[drawable]
    low, high = (float(y.min()), float(y.max())) if len(y) else (0.0, 1.0)
    y = y.clamp(-LARGEST, LARGEST)
    return Curve(places[drawable], y, places[:0], places[torch.isinf(values)], low, high, (), _lone(drawable))


def _lone(drawable: Bool[Tensor, "point"]) -> Bool[Tensor, "drawn"]:
    padded = torch.nn.functional.pad(drawable, (1, 1))
    return ~(padded[:-2] | padded[2:])[drawable]


def decades(*tables: Tensor) -> tuple[float, float]:
    """The powers of ten around all positive finite numbers, at least one decade apart; (.1, 1) if there are none."""
    numbers = torch.cat([table.flatten().double() for table in tables])
    numbers = numbers[torch.isfinite(numbers) & (numbers > 0)].clamp(SMALLEST, LARGEST)
    if not len(numbers):
        return 0.1, 1.0
    low = math.floor(math.log10(float(numbers.min())) + 1e-9)
    high = math.ceil(math.log10(float(numbers.max())) - 1e-9)
    return 10.0**low, 10.0 ** max(high, low + 1)


def with_rims(low: float, high: float, zero: bool, lost: bool) -> tuple[float, float]:
    """The ends of a log axis with room below ``low`` for exact zeros, and above ``high`` for what is not finite."""
    room = (high / low) ** RIM
    return low / room if zero else low, high * room if lost else high


def powers_of_ten(low: float, high: float, most: int = 6) -> tuple[float, ...]:
    """At most ``most`` evenly spaced powers of ten from ``low`` to ``high``, both powers of ten themselves."""
    first, last = round(math.log10(low)), round(math.log10(high))
    stride = max(1, math.ceil((last - first) / (most - 1)))
    return tuple(10.0**exponent for exponent in range(first, last + 1, stride))


def round_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """At most ``most`` multiples of 1, 2 or 5 times a power of ten from ``low`` to ``high``; one if they are equal."""
    span = high - low
    if not (math.isfinite(span) and span > 1e-30):
        return [low]
    stride = 10.0 ** math.floor(math.log10(span / most))
    stride *= next(factor for factor in (1, 2, 5, 10, 20) if span / (factor * stride) <= most - 1)
    first = math.ceil(low / stride - 1e-9)
    return [stride * i for i in range(first, math.floor(high / stride + 1e-9) + 1)]


def index_ticks(count: int, most: int = 6) -> list[int]:
    """At most ``most`` round indices below ``count``."""
    return sorted({int(tick) for tick in round_ticks(0, max(count - 1, 1), most) if tick == int(tick) and tick < count})


def shared_at(flow: GradientFlow, position: int | None) -> SharedParameter | None:
    """The first shared parameter that a position uses; of those that no position or another uses, the first of all."""
    of_position = [shared for shared in flow.shared if position in shared.positions]
    return next(iter(of_position or flow.shared), None)


def first_units(units: Bool[Tensor, "unit"], most: int = 12) -> tuple[list[int], int]:
    """The first indices at which ``units`` is True, at most ``most`` of them, and how many there are in all."""
    found = units.nonzero().flatten().tolist()
    return found[:most], len(found)


def verdicts_on(flow: GradientFlow, position: int) -> tuple[Verdict, ...]:
    """The verdicts that concern a position or its module's own parameters."""
    return tuple(verdict for verdict in flow.verdicts if position in rows_of(flow, verdict)[0])


def rows_of(flow: GradientFlow, verdict: Verdict) -> tuple[list[int], list[int]]:
    """The indices of the positions and of the parameters that a verdict concerns, in its order.

    A verdict on parameters alone has the positions of the modules that own them.
    """
    positions = {position: index for index, position in enumerate(flow.positions)}
    parameters = {name: index for index, name in enumerate(flow.parameters)}
    concerned = verdict.positions or _owners(flow, verdict)
    return (
        [positions[position] for position in concerned if position in positions],
        [parameters[name] for name in verdict.parameters if name in parameters],
    )


def row_boxes(rows: Sequence[int], width: int) -> list[tuple[int, int, int, int]]:
    """Boxes around ``rows`` of a heat map with ``width`` columns, one for each run of neighbours: row and column of the
    start and of the stop.

    More than `MAX_RUNS` are marked at the left margin only, so that their outlines do not hide the colours.
    """
    wanted = sorted(set(rows))
    starts = [row for row in wanted if row - 1 not in wanted]
    stops = [row + 1 for row in wanted if row + 1 not in wanted]
    right = width if len(starts) <= MAX_RUNS else max(1, width // 24)
    return [(start, 0, stop, right) for start, stop in zip(starts, stops, strict=True)]


def _owners(flow: GradientFlow, verdict: Verdict) -> list[Position]:
    modules = {name.rpartition(".")[0] for name in verdict.parameters}
    return [position for position in flow.positions if position.module in modules]


def profile_limits(*profiles: Profile) -> tuple[float, float, tuple[float, ...]]:
    """What a log axis shows of profiles at initialisation, so that they can be compared, and its ticks."""
    tables = [table for p in profiles for table in (p.low, p.median, p.high, p.theory) if table is not None]
    low, high = decades(*tables)
    return low, high, powers_of_ten(low, high)


def profile_curve(profile: Profile) -> Curve:
    """The median of a profile; ``missing`` are the layers at which it is infinite or nan: beyond float32."""
    curve = log_curve(profile.median, profile.layer)
    return replace(curve, missing=profile.layer[~profile.median.isfinite()].double())


def profile_band(profile: Profile) -> tuple[Curve, Curve]:
    """The quartiles of a profile, where both of them can be drawn on a log axis."""
    both = (profile.low > 0) & torch.isfinite(profile.high)
    return log_curve(profile.low[both], profile.layer[both]), log_curve(profile.high[both], profile.layer[both])


#: Of a loss/var(y) more is not shown: a worse one learns nothing, however bad it is.
MOST_LOSS = 4.0


def training_limits(training: Training | None) -> tuple[float, float, list[float]]:
    """What a linear axis from 0 shows of a training's loss/var(y) (the best constant in any case, and no more than
    `MOST_LOSS`), and its ticks.
    """
    curve = training_curve(training)
    high = 1.1 * min(max(1.0, curve.high if len(curve.y) else 1.0), MOST_LOSS)
    return 0.0, high, round_ticks(0.0, high)


def leaving(curve: Curve) -> tuple[Curve, bool]:
    """A curve that leaves the axis of `training_limits` as it can be drawn, and whether it does. The path of a line to
    1e30 is none that a browser draws.
    """
    return replace(curve, y=curve.y.clamp(max=10 * MOST_LOSS)), len(curve.y) > 0 and curve.high > MOST_LOSS


def training_curve(training: Training | None) -> Curve:
    """A training's loss/var(y) over its steps; without points if there is none."""
    if training is None:
        return linear_curve(torch.zeros(0, dtype=torch.float64))
    return linear_curve(training.ratio, training.step)


def best_constant_curve(steps: int) -> Curve:
    """What the best constant reaches: 1."""
    return linear_curve(torch.ones(2, dtype=torch.float64), torch.tensor([0, steps]))


def filter_pictures(filters: ResidualFilters) -> dict[str, Float[Tensor, "row column"]]:
    """The plain filter, the residual one and their difference: the kernels of an output channel in a row of tiles."""
    return {
        "plain": _tiled(filters.plain),
        "residual": _tiled(filters.residual),
        "difference": _tiled(filters.plain - filters.residual),
    }


def _tiled(kernels: Float[Tensor, "out channel height width"]) -> Float[Tensor, "row column"]:
    return torch.cat([torch.cat(list(row), dim=1) for row in kernels], dim=0)


def tile_boxes(filters: ResidualFilters) -> list[tuple[int, int, int, int]]:
    """Boxes whose outlines part the kernels in those pictures: row and column of the start and of the stop of each.

    The whole picture and every second of its rows and columns of kernels: so no two outlines run along one border.
    """
    num_out, num_in, height, width = filters.plain.shape
    bottom, right = num_out * height, num_in * width
    rows = [(i * height, 0, (i + 1) * height, right) for i in range(0, num_out, 2)]
    columns = [(0, j * width, bottom, (j + 1) * width) for j in range(0, num_in, 2)]
    return [(0, 0, bottom, right), *rows, *columns]


def tile_names(channel: str, count: int, filters: ResidualFilters) -> list[str]:
    """What each of ``count`` rows (or columns) of those pictures is called: its channel and, on a second line, its
    place in the kernel."""
    size = filters.plain.shape[-1]
    return [f"{channel} {i // size}\n{'row' if channel == 'output' else 'column'} {i % size}" for i in range(count)]
