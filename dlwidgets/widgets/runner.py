"""Two lanes of work beside the main thread: ``quick`` for what a slider asks, ``long`` for what a button starts.

Each lane has one thread, started with its first job and ended when the last widget is closed. A job is a pure function
at the top of a module, called as ``function(*args, context=context, **kwargs)`` with picklable arguments, never a
closure over a widget. Waiting requests are kept per (owner, topic); a newer one takes the place of the one that waits.
"""

import atexit
import itertools
import logging
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

from dlwidgets.compute.context import Cancelled, Context

LaneName = Literal["quick", "long"]

CANCEL_AFTER = 0.3
"""Seconds that a running quick job has at least, before a newer request of its topic cancels it."""

SHOW_WITHIN = 0.5
"""Seconds within which a drag shows a result: a job that may still be shorter than this is left to finish."""


AT_ONCE = 0.03
"""Seconds that a job may have lasted last time to be run by the thread that asks: that thread's next message would wait
no longer than two frames. A job of 2 ms takes several times that after a pause, and handing it over as much again."""

QUIET = 0.3
"""Seconds before a quick job's progress is shown: a slider's answer is there sooner than a bar could be read."""


@dataclass(frozen=True, eq=False)
class Request:
    """One job as it was asked for. ``number`` counts all requests of a runner, so a larger one is newer."""

    number: int
    owner: Hashable
    topic: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    deliver: Callable[["Outcome"], None]
    report: Callable[["Request", float, str], None] | None = None
    publish: Callable[["Request", Any], None] | None = None


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of a request: a ``value``, or the ``error`` that the job raised (`Cancelled` if it was stopped)."""

    request: Request
    value: Any = None
    error: BaseException | None = None


class Running:
    """A job under way; it is the `Context` that the job sees when it runs in this process."""

    def __init__(self, request: Request, patience: float, clock: Callable[[], float], quiet: float = 0.0) -> None:
        self.request = request
        self.quiet = quiet
        self.patience = patience
        self.clock = clock
        self.started = clock()
        self.superseded = False
        self.dropped = False
        self.stopped = threading.Event()

    def report(self, fraction: float, text: str) -> None:
        if self.request.report is not None and self.elapsed() >= self.quiet and not self.cancelled():
            self.request.report(self.request, fraction, text)

    def publish(self, value: Any) -> None:
        """Hand over what the job has so far; a job asks whether its context has this, because not every one has."""
        if self.request.publish is not None and not self.cancelled():
            self.request.publish(self.request, value)

    def cancelled(self) -> bool:
        return self.stopped.is_set() or (self.superseded and self.elapsed() >= self.patience)

    def elapsed(self) -> float:
        return self.clock() - self.started


class InlineExecutor(Executor):
    """Runs a job at once in the thread that submits it: the long lane's own."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # a thread has nobody else to tell
            future.set_exception(error)
        return future


@dataclass(eq=False)
class _Lane:
    name: LaneName
    pending: dict[tuple[Hashable, str], Request] = field(default_factory=dict)
    running: Running | None = None
    thread: threading.Thread | None = None
    lasted: dict[tuple[Hashable, str], float] = field(default_factory=dict)


class Runner:
    """Runs the jobs of all widgets of a process.

    Args:
        executor: what runs the jobs of the long lane; None: the lane's own thread. An executor whose jobs run
            elsewhere may have a method ``submit_with_context(function, args, kwargs, context) -> Future`` which
            rebuilds the context on the other side by its own means; without one its jobs get ``context=None``,
            report nothing, and their results are dropped on Stop. A ``ThreadPoolExecutor`` shares the context as it is.
        clock: seconds that only grow.
    """

    def __init__(self, executor: Executor | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self.executor: Executor = executor or InlineExecutor()
        self._clock = clock
        self._changed = threading.Condition()
        self._lanes = {name: _Lane(name) for name in ("quick", "long")}
        self._owners: set[Hashable] = set()
        self._numbers = itertools.count(1)

    def submit(
        self,
        owner: Hashable,
        function: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        deliver: Callable[[Outcome], None],
        report: Callable[[Request, float, str], None] | None = None,
        publish: Callable[[Request, Any], None] | None = None,
        lane: LaneName = "quick",
        topic: str = "result",
    ) -> int:
        """Ask for a job and return its number; ``deliver`` gets its `Outcome` on the lane's thread, ``publish``
        what the job publishes on its way.

        In ``quick`` it replaces the waiting request of the same owner and topic, and cancels the running one once that
        had its time. In ``long`` it also ends the running one at once: its own button was pressed again.

        Raises:
            TypeError: ``function`` is a lambda, a nested function or a method of a widget.
        """
        _require_module_level(function)
        with self._changed:
            number = next(self._numbers)
            request = Request(number, owner, topic, function, args, dict(kwargs or {}), deliver, report, publish)
            state = self._lanes[lane]
            self._owners.add(owner)
            state.pending[owner, topic] = request
            running = state.running
            if running is not None and (running.request.owner, running.request.topic) == (owner, topic):
                running.superseded = True
                if lane == "long":
                    running.dropped = True
                    running.stopped.set()
            if state.thread is None:
                state.thread = threading.Thread(target=self._work, args=(state,), name=f"dlwidgets-{lane}", daemon=True)
                state.thread.start()
            self._changed.notify_all()
            return number

    def run_at_once(
        self,
        owner: Hashable,
        function: Callable[..., Any],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        deliver: Callable[[Outcome], None],
        topic: str = "result",
    ) -> int | None:
        """Run a quick job and deliver its outcome in this thread, and return its number, if it was brief the last time,
        ``owner`` has no other job and the lane is idle. Otherwise nothing happens and None comes: `submit` it."""
        state = self._lanes["quick"]
        with self._changed:
            if state.lasted.get((owner, topic), AT_ONCE) >= AT_ONCE or state.pending or state.running is not None:
                return None
            if self.num_jobs(owner) > 0:
                return None
            request = Request(next(self._numbers), owner, topic, function, args, dict(kwargs or {}), deliver)
        running = Running(request, SHOW_WITHIN, self._clock)
        outcome = self._run(state, running)
        with self._changed:
            if owner in self._owners:
                state.lasted[owner, topic] = running.elapsed()
        deliver(outcome)
        return request.number

    def stop(self, owner: Hashable) -> None:
        """Forget what waits for ``owner`` and tell its running jobs to stop; what they still return is delivered."""
        with self._changed:
            for state in self._lanes.values():
                for key in [key for key in state.pending if key[0] == owner]:
                    del state.pending[key]
                if state.running is not None and state.running.request.owner == owner:
                    state.running.stopped.set()
            self._changed.notify_all()

    def close(self, owner: Hashable) -> None:
        """Stop everything of ``owner`` and deliver nothing more; the threads end with the last owner."""
        with self._changed:
            self.stop(owner)
            for state in self._lanes.values():
                if state.running is not None and state.running.request.owner == owner:
                    state.running.dropped = True
                for key in [key for key in state.lasted if key[0] == owner]:
                    del state.lasted[key]
            self._owners.discard(owner)
            self._changed.notify_all()

    def end(self, timeout: float = 10.0) -> None:
        """Stop everything and wait for the threads: one that still computes when the interpreter ends aborts it."""
        with self._changed:
            for state in self._lanes.values():
                state.pending.clear()
                if state.running is not None:
                    state.running.dropped = True
                    state.running.stopped.set()
            self._owners.clear()
            self._changed.notify_all()
            threads = [state.thread for state in self._lanes.values() if state.thread is not None]
        for thread in threads:
            thread.join(timeout)

    def num_jobs(self, owner: Hashable) -> int:
        """How many jobs of ``owner`` wait or run; a job being delivered still counts."""
        with self._changed:
            return self._count(owner, tuple(self._lanes.values()))

    def wait(self, owner: Hashable, timeout: float | None = None, lane: LaneName | None = None) -> None:
        """Return when no job of ``owner`` waits or runs (in ``lane``, or in both).

        Raises:
            TimeoutError: it is still busy after ``timeout`` seconds.
            RuntimeError: called by a job or by what it delivers to, which would wait for itself.
        """
        states = tuple(self._lanes.values()) if lane is None else (self._lanes[lane],)
        if any(state.thread is threading.current_thread() for state in self._lanes.values()):
            raise RuntimeError("wait() was called from the widget's own work, which would wait for itself")
        with self._changed:
            if not self._changed.wait_for(lambda: self._count(owner, states) == 0, timeout):
                raise TimeoutError(f"still busy after {timeout} s")

    def _count(self, owner: Hashable, states: tuple[_Lane, ...]) -> int:
        waiting = sum(key[0] == owner for state in states for key in state.pending)
        return waiting + sum(s.running is not None and s.running.request.owner == owner for s in states)

    def _work(self, state: _Lane) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: state.pending or not self._owners)
                if not state.pending:
                    state.thread = None
                    return
                key = next(iter(state.pending))
                request = state.pending.pop(key)
                # A job known to outlast SHOW_WITHIN cannot keep the drag lively: end it early. One that may be shorter
                # must be left to finish, or a drag over jobs of 400 ms would never show anything.
                patience = CANCEL_AFTER if state.lasted.get(key, 0.0) >= SHOW_WITHIN else SHOW_WITHIN
                running = Running(request, patience, self._clock, QUIET if state.name == "quick" else 0.0)
                state.running = running
            try:
                outcome = self._run(state, running)
                state.lasted[key] = running.elapsed()
                if not running.dropped:
                    request.deliver(outcome)
            except Exception:
                logging.getLogger(__name__).exception("the outcome of a job could not be shown")
            finally:
                with self._changed:
                    state.running = None
                    if request.owner not in self._owners:
                        state.lasted.pop(key, None)
                    self._changed.notify_all()

    def _run(self, state: _Lane, running: Running) -> Outcome:
        request = running.request
        executor = self.executor if state.name == "long" else InlineExecutor()
        try:
            future = self._hand_over(executor, request, running)
            return Outcome(request, value=future.result())
        except BaseException as error:  # a thread has nobody else to tell
            return Outcome(request, error=error)

    def _hand_over(self, executor: Executor, request: Request, running: Running) -> Future[Any]:
        context: Context = running
        if hasattr(executor, "submit_with_context"):
            return executor.submit_with_context(request.function, request.args, request.kwargs, context)
        if isinstance(executor, InlineExecutor | ThreadPoolExecutor):
            return executor.submit(request.function, *request.args, context=context, **request.kwargs)
        future = executor.submit(request.function, *request.args, context=None, **request.kwargs)
        future.add_done_callback(lambda _: self._wake())
        with self._changed:
            self._changed.wait_for(lambda: future.done() or running.stopped.is_set())
        if not future.done():
            future.cancel()
            raise Cancelled("stopped; the executor finishes the job for nothing")
        return future

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


def _require_module_level(function: Callable[..., Any]) -> None:
    """A job must be picklable: a cluster runs it in another process."""
    inner = function
    while isinstance(inner, partial):
        inner = inner.func
    name = getattr(inner, "__qualname__", "")
    if not callable(inner) or "<locals>" in name or "<lambda>" in name or hasattr(inner, "_trait_values"):
        raise TypeError(f"a job must be a function defined at the top of a module, got {function!r}")
    if hasattr(getattr(inner, "__self__", None), "_trait_values"):
        raise TypeError(f"a job must not be a method of a widget, got {function!r}")


_runner = Runner()
atexit.register(_runner.end)


def get_runner() -> Runner:
    """The runner that all widgets of this process share."""
    return _runner
