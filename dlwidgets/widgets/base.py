"""What every widget of this package does, and no more. See `Exhibit`."""

import inspect
import threading
import time
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import wraps
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

import ipywidgets
import traitlets

from dlwidgets._protocol import MODULE, MODULE_VERSION, PROTOCOL
from dlwidgets.compute.context import Cancelled
from dlwidgets.widgets import reruns
from dlwidgets.widgets.runner import LaneName, Outcome, Request, get_runner
from dlwidgets.widgets.tree import walk
from dlwidgets.widgets.updates import kept, together

_LOCK = threading.RLock()
"""The lock of every widget tree. All trees share this one: linked exhibits set each other's traits, and two locks taken
in both orders by two threads would stop both for ever. It is held while a message is handled or a tree is drawn, and
while something is computed only if that is known to be brief (`Runner.run_at_once`)."""

PROGRESS_INTERVAL = 0.1
"""Seconds between two progress messages of one job."""

_NOT_ARGUMENTS = {"children", "comm", "keys", "log", "result"}


class Exhibit(ipywidgets.VBox):
    """The base of all widgets: a box that shows one `result`, its errors and progress, and cleans up after itself.

    A subclass

    1. declares what a person selects as synced traits; names its own arguments in its ``__init__``, which first calls
       ``super().__init__(**kwargs)``, then makes its controls and marks once and sets ``self.children``;
    2. overrides `_render`, which assigns to those marks from ``self.result`` and the selection. It is called under the
       lock with every model's messages held, so that each model sends at most one;
    3. connects controls with ``self._react(handler)``: ``slider.observe(self._react(self._on_slider), "value")``,
       ``button.on_click(self._react(self._on_click))``. What the handler raises is shown in the widget;
    4. asks for computations with ``self._compute(function, *args)`` and does nothing else in callbacks;
    5. returns the present content in words from `_describe`, and names its controls and figures with `_label`.

    Args:
        **kwargs: traits of the widget by name, such as ``layout``.

    Raises:
        TypeError: an unknown keyword argument; the message names the valid ones.
    """

    _model_name = traitlets.Unicode("ExhibitModel").tag(sync=True)
    _model_module = traitlets.Unicode(MODULE).tag(sync=True)
    _model_module_version = traitlets.Unicode(MODULE_VERSION).tag(sync=True)
    _view_name = traitlets.Unicode("ExhibitView").tag(sync=True)
    _view_module = traitlets.Unicode(MODULE).tag(sync=True)
    _view_module_version = traitlets.Unicode(MODULE_VERSION).tag(sync=True)
    _protocol = traitlets.Int(PROTOCOL).tag(sync=True)
    _error = traitlets.Unicode("").tag(sync=True)
    _progress: Any = traitlets.Dict(None, allow_none=True).tag(sync=True)
    _busy = traitlets.Bool(False).tag(sync=True)
    _description = traitlets.Unicode("").tag(sync=True)
    _labels = traitlets.Dict().tag(sync=True)

    result = traitlets.Any(None, allow_none=True, help="What was computed last: a frozen dataclass, None until ready.")

    _lock: ClassVar[Any] = _LOCK

    def __init__(self, **kwargs: Any) -> None:
        self._reject_unknown(kwargs)
        self._closed = False
        self._owned: list[ipywidgets.Widget] = []
        self._adopted: dict[int, ipywidgets.Widget] = {}
        self._shown: dict[str, int] = {}
        self._progress_sent = 0.0
        self._callback_failed = False
        self._asked = self._failed_at = 0
        super().__init__(**kwargs)
        self.on_msg(self._on_custom_message)
        reruns.made(self)

    # What a subclass uses

    def _render(self) -> None:
        """Assign every mark from ``self.result`` and the selection; called by `_draw` only."""

    def _describe(self) -> str:
        """The present content in words, for assistive technology and for pages that show no widgets."""
        return ""

    def _compute(
        self,
        function: Callable[..., Any],
        *args: Any,
        lane: LaneName = "quick",
        topic: str = "result",
        then: Callable[[Any], None] | None = None,
        failed: Callable[[BaseException], None] | None = None,
        published: Callable[[Any], None] | None = None,
        at_once: bool = False,
        **kwargs: Any,
    ) -> int:
        """Run ``function(*args, context=context, **kwargs)`` off this thread, then ``then(value)``, then `_draw`.

        ``then`` runs under the lock; left out, the value becomes ``self.result``. ``failed(error)`` runs instead,
        before the error is shown, if there was one or the job was stopped. ``published(value)`` runs for each value
        that the job hands over on its way with ``context.publish``. A newer request of the same ``topic``
        replaces this one while it waits; the lanes are explained in `runner`. ``at_once``: a job that was brief the
        last time is run by this thread, under the lock, and drawn before this returns. Returns the request's number.
        """

        def deliver(outcome: Outcome) -> None:
            self._deliver(outcome, then, failed)

        def publish(request: Request, value: Any) -> None:
            with self._lock:
                if published and not self._closed and request.number >= self._shown.get(request.topic, 0):
                    with self._drawing():
                        published(value)

        with self._lock:
            if self._closed:
                return 0
            if at_once:
                number = get_runner().run_at_once(self, function, args, kwargs, deliver=deliver, topic=topic)
                if number is not None:
                    self._asked = number
                    return number
            self._busy = True
            self._asked = get_runner().submit(
                self,
                function,
                args,
                kwargs,
                deliver=deliver,
                report=self._report,
                publish=publish,
                lane=lane,
                topic=topic,
            )
            return self._asked

    def _react(self, handler: Callable[..., Any]) -> Callable[..., None]:
        """Wrap a callback: it runs under the lock, and what it raises is shown in the widget, the kernel goes on."""

        @wraps(handler)
        def guarded(*args: Any) -> None:
            with self._lock:
                if self._closed:
                    return
                try:
                    handler(*args)
                except Exception as error:
                    self._show_error(error)
                    self._callback_failed = True
                else:
                    if self._callback_failed:  # the error of a computation stays until one succeeds
                        self._callback_failed = False
                        self._error = ""

        return guarded

    def _draw(self) -> None:
        """Call `_render` under the lock, with the updates of the whole tree held: they leave as one message."""
        with self._lock:
            if not self._closed:
                with self._drawing():
                    self._render()

    @contextmanager
    def _drawing(self) -> Iterator[None]:
        with ExitStack() as held:
            held.enter_context(together(self.send))
            for widget in self._adopted.values():
                held.enter_context(widget.hold_sync())
            held.enter_context(self.hold_sync())
            try:
                yield
                self._description = self._describe()
            except Exception as error:
                self._show_error(error)

    def _label(self, widget: ipywidgets.Widget, name: str, content: str = "") -> None:
        """Give a control or figure an accessible name and, for a figure, say its present ``content`` in words."""
        self._labels = {**self._labels, widget.model_id: [visible(name), visible(content)]}

    def _own(self, widget: ipywidgets.Widget) -> Any:
        """Have a model that is no child of this box now (a hidden figure, a ``jslink``) belong to it; returns it."""
        self._owned.append(widget)
        self._adopt()
        return widget

    def _show_error(self, error: BaseException) -> None:
        """Show an exception's message inside the widget, as text."""
        self._failed_at = self._asked
        message = str(error) or "no message"
        plain = isinstance(error, ValueError | TypeError | traitlets.TraitError)
        self._error = visible(message if plain else f"{type(error).__name__}: {message}")

    # What a user and a script use

    @property
    def error(self) -> str:
        """The message shown in the widget, empty if all is well."""
        return self._error

    def wait(self, timeout: float | None = None) -> None:
        """Return once everything asked for is computed and drawn.

        Args:
            timeout: seconds to wait at most, None for ever.

        Raises:
            TimeoutError: still busy after ``timeout`` seconds.
            RuntimeError: called from a callback of a widget, which would wait for itself.
        """
        if self._lock._is_owned():
            raise RuntimeError("wait() was called from a callback of a widget, which would wait for itself")
        get_runner().wait(self, timeout)

    def export(self, path: str | PathLike[str]) -> Path:
        """Write the widget as it is, once it is idle, into one HTML file that needs neither kernel nor network.

        What the browser computes itself (hovering, pinning, readouts) goes on working there, the rest does not.

        Raises:
            FileNotFoundError: the folder of ``path`` does not exist, or the front end was not built.
            OSError: ``path`` cannot be written.
            TypeError: ``path`` is no path.
            ValueError: the widget was closed.
        """
        from dlwidgets.export import export_page

        if self._closed:
            raise ValueError("export: the widget was closed, so there is nothing to write")
        self.wait()
        return export_page(self, path, title=type(self).__name__)

    def close(self) -> None:
        """Stop its work and free every model it is made of. Closing twice does nothing."""
        if getattr(self, "_closed", True):
            return
        with self._lock:
            self._closed = True
            get_runner().close(self)
            for root in (*self._owned, self):
                for widget in list(walk(root)):
                    if widget is not self:
                        widget.close()
            self._adopted.clear()
            self._owned.clear()
            super().close()

    def __repr__(self) -> str:
        own = [name for name in self.traits() if name not in Exhibit.class_trait_names() and not name.startswith("_")]
        values = ", ".join(f"{name}={_short(getattr(self, name))}" for name in sorted(own))
        state = "closed" if self._closed else "busy" if self._busy else "error" if self._error else "ready"
        return f"<{type(self).__name__}({values}) {state}>"

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any] | None:
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is not None:
            if not self._lock._is_owned():
                with suppress(TimeoutError, RuntimeError):
                    # A page that shows no widgets keeps what is said here, so let a first result arrive.
                    get_runner().wait(self, 2.0, lane="quick")
            bundle["text/plain"] = self._error or self._description or repr(self)
        return bundle

    # How it works

    def _deliver(
        self,
        outcome: Outcome,
        then: Callable[[Any], None] | None,
        failed: Callable[[BaseException], None] | None,
    ) -> None:
        request = outcome.request
        with self._lock:
            if self._closed:
                return
            with self._drawing():
                self._busy = get_runner().num_jobs(self) > 1
                self._progress = None
                if request.number < self._shown.get(request.topic, 0):
                    return
                self._shown[request.topic] = request.number
                if outcome.error is not None and failed is not None:
                    failed(outcome.error)
                if isinstance(outcome.error, Cancelled):
                    return
                if outcome.error is not None:
                    self._show_error(outcome.error)
                    self._failed_at = request.number
                    return
                if request.number > self._failed_at:  # what was asked before a mistake says nothing about it
                    self._error = ""
                if then is None:
                    self.result = outcome.value
                else:
                    then(outcome.value)
                self._render()

    def _report(self, request: Request, fraction: float, text: str) -> None:
        now = time.monotonic()
        if now - self._progress_sent < PROGRESS_INTERVAL and fraction < 1:
            return
        with self._lock:
            if not self._closed and request.number >= self._shown.get(request.topic, 0):
                self._progress_sent = now
                self._progress = {"fraction": min(max(float(fraction), 0.0), 1.0), "text": visible(text)}

    def _on_custom_message(self, _: Any, content: Any, __: Any) -> None:
        if isinstance(content, dict) and content.get("type") == "stop":
            self._stop()

    def _stop(self) -> None:
        """End the running jobs of this widget, as its Stop button does."""
        with self._lock:
            runner = get_runner()
            runner.stop(self)
            if runner.num_jobs(self) == 0:
                self._busy = False

    def _reject_unknown(self, kwargs: dict[str, Any]) -> None:
        valid = {name for name in self.trait_names() if not name.startswith("_")} - _NOT_ARGUMENTS
        unknown = sorted(set(kwargs) - valid)
        if unknown:
            explicit = [
                name
                for name, parameter in inspect.signature(type(self).__init__).parameters.items()
                if name != "self" and parameter.kind is not inspect.Parameter.VAR_KEYWORD
            ]
            names = ", ".join([*explicit, *sorted(valid - set(explicit))])
            raise TypeError(f"{type(self).__name__} got an unknown argument {unknown[0]!r}; valid names are: {names}")

    @traitlets.observe("children")
    def _adopt(self, _: Any = None) -> None:
        """Put every model of the tree under the lock; call it again after adding a mark to a figure."""
        roots = (self, *self._owned)
        present = {id(widget): widget for root in roots for widget in walk(root) if widget is not self}
        for key in present.keys() - self._adopted.keys():
            _put_under_lock(present[key])
        self._adopted = present

    def __setattr__(self, name: str, value: Any) -> None:
        with self._lock:
            super().__setattr__(name, value)

    def _handle_msg(self, msg: dict[str, Any]) -> None:
        with self._lock:
            super()._handle_msg(msg)

    def _send(self, msg: dict[str, Any], buffers: Any = None) -> None:
        with self._lock:
            if not kept(self, msg, buffers):
                super()._send(msg, buffers)

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take a state from the front end; what is refused is shown in the widget, and the true state sent back."""
        with self._lock:
            try:
                super().set_state(sync_data)
            except Exception as error:
                self._show_error(error)
                self._callback_failed = True
                self.send_state([name for name in sync_data if name in self.keys])


def _put_under_lock(widget: ipywidgets.Widget) -> None:
    """Make the ways into a stock widget (a message, an assignment) wait for whoever is drawing it, and have its updates
    leave with those of the tree."""
    if isinstance(widget, Exhibit):
        return

    def locked(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            with _LOCK:
                return method(*args, **kwargs)

        return call

    for name in ("_handle_msg", "set_state", "_notify_trait"):
        setattr(widget, name, locked(getattr(widget, name)))
    send = widget._send

    def send_or_keep(msg: dict[str, Any], buffers: Any = None) -> None:
        with _LOCK:
            if not kept(widget, msg, buffers):
                send(msg, buffers)

    widget._send = send_or_keep
    if widget.comm is not None:
        widget.comm.on_msg(widget._handle_msg)


def visible(text: str) -> str:
    """``text`` with control, bidirectional and other invisible characters written as escapes: safe to show as text."""
    return "".join(
        character if character in "\n\t" or unicodedata.category(character)[0] != "C" else f"\\u{ord(character):04x}"
        for character in text
    )


def hide(widget: ipywidgets.DOMWidget, hidden: bool) -> None:
    """Take a widget of an exhibit out of the page, or have it there again."""
    (widget.add_class if hidden else widget.remove_class)("dlw-hidden")


def _short(value: Any) -> str:
    shape = getattr(value, "shape", None)
    if shape is not None and not isinstance(value, type):
        return f"{type(value).__name__}{tuple(shape)}"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
