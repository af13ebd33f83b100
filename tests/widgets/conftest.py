"""A front end without a browser: comms that record what is sent."""

from collections.abc import Iterator
from typing import Any

import comm
import ipywidgets
import pytest
from comm.base_comm import BaseComm
from ipywidgets.widgets.widget import _instances, _put_buffers

import dlwidgets.widgets.base  # noqa: F401  (opens nothing, but is imported before models are counted)


class Recorder:
    """The messages of all models since the last `clear`, as (model id, message type, data)."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, str, Any]] = []
        self.packets: list[tuple[str, str, Any]] = []
        self.state: dict[str, dict[str, Any]] = {}

    def clear(self) -> None:
        self.messages.clear()
        self.packets.clear()

    def updates(self, widget: ipywidgets.Widget | None = None) -> list[dict[str, Any]]:
        """The states sent in update messages, of one widget or of all."""
        return [
            data["state"]
            for model_id, kind, data in self.messages
            if kind == "comm_msg"
            and data.get("method") == "update"
            and (widget is None or model_id == widget.comm.comm_id)
        ]

    def send(self, widget: ipywidgets.Widget, **state: Any) -> None:
        """Deliver to ``widget`` what a front end sends when a person changes ``state``, the way a kernel does."""
        self._deliver(widget, {"method": "update", "state": state})

    def send_custom(self, widget: ipywidgets.Widget, content: Any) -> None:
        """Deliver a custom message of the front end."""
        self._deliver(widget, {"method": "custom", "content": content})

    def _deliver(self, widget: ipywidgets.Widget, data: dict[str, Any]) -> None:
        widget.comm.handle_msg({"content": {"data": data}, "buffers": []})

    def arrive(self, comm_id: str, kind: str, data: Any, buffers: Any) -> None:
        """Take a message; updates that came together count as one packet, and as the messages that they are."""
        self.packets.append((comm_id, kind, data))
        content = data.get("content") if data.get("method") == "custom" else None
        if not isinstance(content, dict) or content.get("type") != "updates":
            self.take(comm_id, kind, data, buffers)
            return
        rest = list(buffers or [])
        for update in content["updates"]:
            count = len(update["buffer_paths"])
            own = {"method": "update", "state": update["state"], "buffer_paths": update["buffer_paths"]}
            self.take(update["model_id"], kind, own, rest[:count])
            rest = rest[count:]
        assert rest == []

    def take(self, comm_id: str, kind: str, data: Any, buffers: Any) -> None:
        self.messages.append((comm_id, kind, data))
        if kind == "comm_open" or (kind == "comm_msg" and data.get("method") in ("update", "echo_update")):
            state = dict(data["state"])
            _put_buffers(state, data.get("buffer_paths", []), buffers or [])
            self.state.setdefault(comm_id, {}).update(state)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    record = Recorder()

    class RecordingComm(BaseComm):
        def publish_msg(
            self, msg_type: str, data: Any = None, metadata: Any = None, buffers: Any = None, **keys: Any
        ) -> None:
            record.arrive(self.comm_id, msg_type, data, buffers)

    monkeypatch.setattr(comm, "create_comm", RecordingComm)
    return record


@pytest.fixture
def num_models() -> Any:
    """How many ipywidgets models are alive, as a function."""
    return lambda: len(_instances)
