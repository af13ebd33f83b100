"""Ops without a rule of their own."""

from __future__ import annotations

from typing import Any

from .graph import Node
from .links import Link
from .rules_layout import everywhere


def unknown(node: Node, number: int) -> list[tuple[Any, Link]]:
    """A superset: everything."""
    return everywhere(node, number, node.name)
