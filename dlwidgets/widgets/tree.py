"""The models that a widget is made of."""

from collections.abc import Iterator
from typing import Any

import ipywidgets


def walk(root: ipywidgets.Widget) -> Iterator[ipywidgets.Widget]:
    """Yield ``root`` and every model its synced traits lead to: children, figures, axes, scales, marks, layouts."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        widget = waiting.pop()
        if id(widget) in seen:
            continue
        seen.add(id(widget))
        yield widget
        for name in widget.keys:
            waiting.extend(_widgets_in(getattr(widget, name)))


def _widgets_in(value: Any) -> Iterator[ipywidgets.Widget]:
    if isinstance(value, ipywidgets.Widget):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _widgets_in(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _widgets_in(item)
