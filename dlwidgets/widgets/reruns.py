"""Closes what a notebook cell made in an earlier run, once the cell has run again and nobody holds it any more.

ipywidgets keeps every model alive until it is closed, so without this a cell that is run ten times keeps ten exhibits.
"""

import re
import sys
import weakref
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from dlwidgets.widgets.tree import walk

if TYPE_CHECKING:
    from dlwidgets.widgets.base import Exhibit

_CACHES = re.compile(r"In|Out|_+(\d+|i+\d*|oh|dh|ih)?")
"""Names in which IPython keeps inputs and outputs of its own accord."""

_made: defaultdict[str, list[tuple[str, "weakref.ref[Exhibit]"]]] = defaultdict(list)
_shells: "weakref.WeakSet[Any]" = weakref.WeakSet()


def made(exhibit: "Exhibit") -> None:
    """Note that the cell running now, if any, made this exhibit."""
    where = _current_cell()
    if where is None:
        return
    shell, cell, execution = where
    if shell not in _shells:
        _shells.add(shell)
        shell.events.register("post_run_cell", _after_cell)
    _made[cell].append((execution, weakref.ref(exhibit)))


def _after_cell(*_: Any) -> None:
    where = _current_cell()
    if where is None:
        return
    shell, cell, execution = where
    kept = []
    for made_in, reference in _made.pop(cell, ()):
        exhibit = reference()
        if exhibit is None or exhibit.comm is None:
            continue
        if made_in == execution or _held(exhibit, shell.user_ns):
            kept.append((made_in, reference))
        else:
            exhibit.close()
            exhibit.result = None  # IPython's output cache may hold the closed widget; its result need not stay
    if kept:
        _made[cell] = kept


def _current_cell() -> tuple[Any, str, str] | None:
    """The shell, a name for the cell (its id, else its text) and one for this execution of it."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    get_parent = getattr(shell, "get_parent", None)
    if get_parent is None:
        return None
    parent = get_parent() or {}
    header = parent.get("header", {})
    if header.get("msg_type") != "execute_request":
        return None
    cell = parent.get("metadata", {}).get("cellId") or parent.get("content", {}).get("code", "")
    return shell, cell, header.get("msg_id", "")


def _held(exhibit: "Exhibit", namespace: dict[str, Any]) -> bool:
    """Whether a variable of the user holds it: by itself, in a container, or inside a layout widget."""
    return any(_holds(value, exhibit, 2) for name, value in list(namespace.items()) if not _CACHES.fullmatch(name))


def _holds(value: Any, exhibit: "Exhibit", depth: int) -> bool:
    import ipywidgets

    if value is exhibit:
        return True
    if isinstance(value, ipywidgets.Box) and value.comm is not None:
        return any(widget is exhibit for widget in walk(value))
    if depth and isinstance(value, list | tuple | set):
        return any(_holds(item, exhibit, depth - 1) for item in value)
    if depth and isinstance(value, dict):
        return any(_holds(item, exhibit, depth - 1) for item in value.values())
    return depth > 0 and any(item is exhibit for item in getattr(value, "__dict__", {}).values())
