"""Round numbers for the ends of an axis, so that it stays as it is while what it shows changes a little."""

import math


def rounded_range(low: float, high: float) -> tuple[float, float]:
    """The narrowest range around ``low`` and ``high`` whose ends are multiples of 1, 2 or 5 times a power of ten, the
    largest such step of which four fit in; one to both sides where ``low`` equals ``high``."""
    span = high - low
    if not span > 1e-12 * max(1.0, abs(low), abs(high)):
        return low - 1.0, high + 1.0
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(power * digit for digit in (5, 2, 1) if power * digit <= span / 4)
    # Up to rounding errors: a value on a multiple needs no further step.
    return step * math.floor(low / step + 1e-9), step * math.ceil(high / step - 1e-9)
