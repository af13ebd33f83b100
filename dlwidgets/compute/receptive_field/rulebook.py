"""All rules, entered into their tables by importing the modules that hold them."""

from . import (
    constants_mixing,
    rules_indexing,
    rules_layout,
    rules_memory,
    rules_transforms,
    rules_values,
    rules_windows,
)
from .rules import RULES

MODULES = (
    constants_mixing,
    rules_indexing,
    rules_layout,
    rules_memory,
    rules_transforms,
    rules_values,
    rules_windows,
)

__all__ = ["MODULES", "RULES"]
