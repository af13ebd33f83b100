"""What several dropouts in a row amount to."""

import math
from dataclasses import dataclass
from fractions import Fraction

from dlwidgets.compute.dropout.arguments import checked_probability


@dataclass(frozen=True)
class Combined:
    """One dropout that does what several in a row do.

    Attributes
    ----------
    probability
        q, the chance that a unit is dropped by at least one of them.
    scale
        What a survivor is multiplied with, 1 / (1 - q); infinite at q = 1.
    """

    probability: float
    scale: float


def combine(*p: float) -> Combined:
    """The single dropout that equals dropouts with probabilities ``p`` in a row.

    A unit survives if it survives each of them, and the masks are independent, so 1 - q = (1 - p1)(1 - p2)...
    Computed in rational numbers and rounded once; without arguments nothing is dropped.

    Raises
    ------
    TypeError, ValueError
        If one of ``p`` is no number, or lies outside [0, 1] or is NaN.
    """
    keep = Fraction(1)
    for index, value in enumerate(p):
        keep *= 1 - Fraction(checked_probability(value, f"p[{index}]"))
    if keep == 0:
        return Combined(1.0, math.inf)
    # Rounding must not turn a unit that may survive into one that never does.
    probability = min(float(1 - keep), math.nextafter(1.0, 0.0))
    try:
        return Combined(probability, float(1 / keep))
    except OverflowError:
        return Combined(probability, math.inf)
