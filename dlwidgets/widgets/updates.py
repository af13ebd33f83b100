"""The updates of many models as one message.

One by one they reach the browser spread over several frames, each with its own cost on the way. Together they arrive at
once, and our front-end model hands them out. Whoever calls this holds the lock of the widget trees.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ipywidgets

_updates: list[tuple[dict[str, Any], list[Any]]] | None = None


@contextmanager
def together(send: Callable[..., None]) -> Iterator[None]:
    """Inside, updates are `kept`; at the end they leave by ``send(content, buffers=...)`` as one message, those of an
    inner use with the outer one's."""
    global _updates
    if _updates is not None:
        yield
        return
    _updates = []
    try:
        yield
    finally:
        updates, _updates = _updates, None
        if updates:
            content = {"type": "updates", "updates": [update for update, _ in updates]}
            send(content, buffers=[buffer for _, buffers in updates for buffer in buffers])


def kept(widget: ipywidgets.Widget, message: dict[str, Any], buffers: Any) -> bool:
    """Whether this message of ``widget`` is an update and will be sent `together` with others."""
    if _updates is None or message.get("method") != "update" or widget.comm is None:
        return False
    update = {"model_id": widget.model_id, "state": message["state"], "buffer_paths": message["buffer_paths"]}
    _updates.append((update, list(buffers or [])))
    return True
