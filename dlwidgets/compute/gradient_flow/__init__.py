"""Where in a network the gradient dies or explodes, seen live in a training loop that knows nothing of it.

``with watch(model, optimizer) as flow: ...`` and then ``flow.result()``: a `GradientFlow`.
"""

from .meter import Meter, watch
from .result import GradientFlow, Position, SharedParameter
from .rhythm import Overhead
from .verdicts import Thresholds, Verdict

__all__ = [
    "GradientFlow",
    "Meter",
    "Overhead",
    "Position",
    "SharedParameter",
    "Thresholds",
    "Verdict",
    "watch",
]
