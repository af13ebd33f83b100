"""Where in a network the gradient dies or explodes, seen live in a training loop that knows nothing of it.

``with watch(model, optimizer) as flow: ...`` and then ``flow.result()``: a `GradientFlow`.
"""

from .laboratory import (
    Configuration,
    Profile,
    ResidualFilters,
    Training,
    profile_at_initialisation,
    residual_against_plain,
    theory_factor,
    train_laboratory,
)
from .meter import Meter, watch
from .result import GradientFlow, Position, SharedParameter
from .rhythm import Overhead
from .verdicts import Thresholds, Verdict

__all__ = [
    "Configuration",
    "GradientFlow",
    "Meter",
    "Overhead",
    "Position",
    "Profile",
    "ResidualFilters",
    "SharedParameter",
    "Thresholds",
    "Training",
    "Verdict",
    "profile_at_initialisation",
    "residual_against_plain",
    "theory_factor",
    "train_laboratory",
    "watch",
]
