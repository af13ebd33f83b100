"""The two lanes: latest wins, who is cancelled when, what is delivered, and how the threads end."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

import pytest

from dlwidgets.compute.context import Cancelled, Context, tick
from dlwidgets.widgets.runner import AT_ONCE, CANCEL_AFTER, SHOW_WITHIN, Outcome, Runner

LONG = 60.0


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Gate:
    """Lets a test see that a job has begun and decide when it goes on."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()


class Box:
    """Collects outcomes in the order of delivery."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def __call__(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    @property
    def values(self) -> list[Any]:
        return [outcome.value for outcome in self.outcomes]


def give(value: Any, context: Context | None) -> Any:
    return value


def fail(message: str, context: Context | None) -> None:
    raise ValueError(message)


def pass_gate(gate: Gate, value: Any, context: Context) -> Any:
    """Say that it runs, wait for the gate, then stop if told so."""
    gate.begun.set()
    assert gate.go_on.wait(LONG)
    tick(context, 0.5, "half")
    return value


def run_until_stopped(gate: Gate, context: Context) -> None:
    gate.begun.set()
    while not context.cancelled():
        gate.go_on.wait(0.001)
    raise Cancelled("stopped")


def keep_partial(gate: Gate, context: Context) -> str:
    try:
        run_until_stopped(gate, context)
    except Cancelled:
        return "as far as it came"
    return "never"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def runner(clock: Clock) -> Iterator[Runner]:
    made = Runner(clock=clock)
    yield made
    for owner in ("a", "b"):
        made.close(owner)


def test_a_request_that_waits_is_replaced_and_the_one_that_runs_is_not(runner: Runner) -> None:
    gate, box = Gate(), Box()
    runner.submit("a", pass_gate, (gate, 0), deliver=box)
    assert gate.begun.wait(LONG)
    for value in range(1, 10):
        runner.submit("a", give, (value,), deliver=box)
    gate.go_on.set()
    runner.wait("a", LONG)
    assert box.values == [0, 9]
    numbers = [outcome.request.number for outcome in box.outcomes]
    assert numbers == sorted(numbers)
    assert box.outcomes[1].request.args == (9,)


def test_another_owner_and_another_topic_keep_their_place(runner: Runner) -> None:
    gate, box = Gate(), Box()
    runner.submit("a", pass_gate, (gate, "first"), deliver=box)
    assert gate.begun.wait(LONG)
    runner.submit("a", give, ("old",), deliver=box)
    runner.submit("b", give, ("other owner",), deliver=box)
    runner.submit("a", give, ("other topic",), topic="hover", deliver=box)
    runner.submit("a", give, ("new",), deliver=box)
    gate.go_on.set()
    runner.wait("a", LONG)
    runner.wait("b", LONG)
    assert box.values == ["first", "new", "other owner", "other topic"]


def take(clock: Clock, seconds: float, context: Context) -> int:
    clock.now += seconds
    return threading.get_ident()


def test_only_a_job_known_to_be_brief_runs_at_once(runner: Runner, clock: Clock) -> None:
    box, here = Box(), threading.get_ident()
    assert runner.run_at_once("a", take, (clock, 0.0), deliver=box) is None  # not known yet
    runner.submit("a", take, (clock, 0.0), deliver=box)
    runner.wait("a", LONG)
    assert runner.run_at_once("a", take, (clock, 2 * AT_ONCE), deliver=box) == 2
    assert [value == here for value in box.values] == [False, True]
    assert runner.run_at_once("a", take, (clock, 0.0), deliver=box) is None  # the last one was not brief
    assert len(box.outcomes) == 2


def test_nothing_runs_at_once_beside_another_job(runner: Runner, clock: Clock) -> None:
    gate, box = Gate(), Box()
    runner.submit("a", take, (clock, 0.0), deliver=box)
    runner.wait("a", LONG)
    runner.submit("a", pass_gate, (gate, 0), topic="other", lane="long", deliver=box)
    assert gate.begun.wait(LONG)
    assert runner.run_at_once("a", take, (clock, 0.0), deliver=box) is None
    gate.go_on.set()
    runner.wait("a", LONG)
    assert runner.run_at_once("a", fail, ("bad",), deliver=box) is not None
    assert str(box.outcomes[-1].error) == "bad"


@pytest.mark.parametrize(("elapsed", "shown"), [(0.1, True), (CANCEL_AFTER, True), (0.49, True), (0.51, False)])
def test_a_first_superseded_job_has_half_a_second(runner: Runner, clock: Clock, elapsed: float, shown: bool) -> None:
    gate, box = Gate(), Box()
    runner.submit("a", pass_gate, (gate, "first"), deliver=box)
    assert gate.begun.wait(LONG)
    runner.submit("a", give, ("second",), deliver=box)
    clock.now = elapsed
    gate.go_on.set()
    runner.wait("a", LONG)
    assert box.values == (["first", "second"] if shown else [None, "second"])
    assert isinstance(box.outcomes[0].error, Cancelled) is not shown


def test_jobs_known_to_be_slow_are_cancelled_at_300_ms(runner: Runner, clock: Clock) -> None:
    gates, box = [Gate(), Gate(), Gate()], Box()
    runner.submit("a", pass_gate, (gates[0], 0), deliver=box)
    for number, gate in enumerate(gates):
        assert gate.begun.wait(LONG)
        later = gates[number + 1] if number < 2 else None
        runner.submit("a", *((pass_gate, (later, number + 1)) if later else (give, (3,))), deliver=box)
        clock.now += 0.6 if number == 0 else 0.31
        gate.go_on.set()
    runner.wait("a", LONG)
    # 0.6 s: cancelled, now known to be slow. 0.31 s: cancelled early, no longer known to be. 0.31 s: left to finish.
    assert box.values == [None, None, 2, 3]


def test_a_drag_over_jobs_shorter_than_half_a_second_always_shows_something(runner: Runner, clock: Clock) -> None:
    shown: list[float] = []
    duration = 0.4
    for _ in range(12):
        gate = Gate()
        runner.submit("a", pass_gate, (gate, None), deliver=lambda o: shown.append(clock.now) if not o.error else None)
        assert gate.begun.wait(LONG)
        runner.submit("b", give, (None,), deliver=lambda _: None)
        runner.submit("a", give, (None,), deliver=lambda _: None)  # the drag goes on: this one is superseded
        clock.now += duration
        gate.go_on.set()
        runner.wait("a", LONG)
    gaps = [later - earlier for earlier, later in zip([0.0, *shown], shown, strict=False)]
    assert len(shown) == 12
    assert max(gaps) <= SHOW_WITHIN


def test_a_job_that_nobody_supersedes_runs_as_long_as_it_likes(runner: Runner, clock: Clock) -> None:
    gate, box = Gate(), Box()
    runner.submit("a", pass_gate, (gate, "done"), deliver=box)
    assert gate.begun.wait(LONG)
    clock.now = 3600
    gate.go_on.set()
    runner.wait("a", LONG)
    assert box.values == ["done"]


def test_a_long_job_is_not_superseded_by_a_slider_and_both_lanes_run_at_once(runner: Runner, clock: Clock) -> None:
    gate, box = Gate(), Box()
    runner.submit("a", pass_gate, (gate, "long"), lane="long", topic="train", deliver=box)
    assert gate.begun.wait(LONG)
    clock.now = 100
    runner.submit("a", give, ("quick",), deliver=box)
    runner.wait("a", LONG, lane="quick")
    assert box.values == ["quick"]
    gate.go_on.set()
    runner.wait("a", LONG)
    assert box.values == ["quick", "long"]


def test_stop_ends_a_long_job_and_forgets_what_waits(runner: Runner) -> None:
    gate, box = Gate(), Box()
    runner.submit("a", run_until_stopped, (gate,), lane="long", deliver=box)
    assert gate.begun.wait(LONG)
    runner.submit("a", give, ("waits",), lane="long", topic="other", deliver=box)
    runner.stop("a")
    runner.wait("a", LONG)
    assert [type(outcome.error) for outcome in box.outcomes] == [Cancelled]


def test_what_a_stopped_job_still_returns_is_delivered(runner: Runner) -> None:
    gate, box = Gate(), Box()
    runner.submit("a", keep_partial, (gate,), lane="long", deliver=box)
    assert gate.begun.wait(LONG)
    runner.stop("a")
    runner.wait("a", LONG)
    assert box.values == ["as far as it came"]


def test_its_own_button_restarts_a_long_job_at_once(runner: Runner) -> None:
    gate, box = Gate(), Box()
    runner.submit("a", keep_partial, (gate,), lane="long", deliver=box)
    assert gate.begun.wait(LONG)
    runner.submit("a", give, ("new",), lane="long", deliver=box)
    runner.wait("a", LONG)
    assert box.values == ["new"]


def test_close_delivers_nothing_more_and_the_threads_end(runner: Runner) -> None:
    gate, box = Gate(), Box()
    runner.submit("a", keep_partial, (gate,), lane="long", deliver=box)
    runner.submit("a", give, (1,), deliver=Box())
    assert gate.begun.wait(LONG)
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("dlwidgets-")]
    assert {thread.name for thread in threads} >= {"dlwidgets-quick", "dlwidgets-long"}
    assert all(thread.daemon for thread in threads)
    runner.close("a")
    mine = [lane.thread for lane in runner._lanes.values() if lane.thread is not None]
    for thread in mine:
        thread.join(LONG)
        assert not thread.is_alive()
    assert box.outcomes == []
    runner.submit("a", give, (2,), deliver=box)  # and a lane starts again when there is work
    runner.wait("a", LONG)
    assert box.values == [2]


def test_errors_are_delivered_and_the_lane_lives_on(runner: Runner) -> None:
    box = Box()
    runner.submit("a", fail, ("no such layer",), deliver=box)
    runner.wait("a", LONG)
    runner.submit("a", give, (1,), deliver=box)
    runner.wait("a", LONG)
    assert str(box.outcomes[0].error) == "no such layer"
    assert box.values == [None, 1]


def test_a_delivery_that_fails_does_not_end_the_lane(runner: Runner, caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: Outcome) -> None:
        raise RuntimeError("cannot draw")

    box = Box()
    runner.submit("a", give, (1,), deliver=broken)
    runner.wait("a", LONG)
    runner.submit("a", give, (2,), deliver=box)
    runner.wait("a", LONG)
    assert box.values == [2]
    assert "cannot draw" in caplog.text


def test_wait_says_when_it_has_waited_long_enough_and_when_it_never_could(runner: Runner) -> None:
    gate, seen = Gate(), []

    def wait_inside(_: Outcome) -> None:
        try:
            runner.wait("a")
        except RuntimeError as error:
            seen.append(str(error))

    runner.submit("a", pass_gate, (gate, 0), deliver=wait_inside)
    with pytest.raises(TimeoutError, match=r"still busy after 0\.01 s"):
        runner.wait("a", 0.01)
    gate.go_on.set()
    runner.wait("a", LONG)
    assert seen == ["wait() was called from the widget's own work, which would wait for itself"]


def publish_three(gate: Gate, context: Context) -> str:
    for value in range(3):
        context.publish(value)
        gate.begun.set()
        assert gate.go_on.wait(LONG)
    return "done"


def test_what_a_job_publishes_arrives_until_it_is_stopped(runner: Runner) -> None:
    gate, box, heard = Gate(), Box(), []
    gate.go_on.set()
    runner.submit("a", publish_three, (gate,), deliver=box, publish=lambda request, value: heard.append(value))
    runner.submit("a", publish_three, (gate,), topic="nobody listens", deliver=box)
    runner.wait("a", LONG)
    assert heard == [0, 1, 2]
    assert box.values == ["done", "done"]
    heard.clear()
    gate = Gate()
    runner.submit("a", publish_three, (gate,), deliver=box, publish=lambda request, value: heard.append(value))
    assert gate.begun.wait(LONG)
    runner.stop("a")
    gate.go_on.set()
    runner.wait("a", LONG)
    assert heard == [0]


def test_reports_arrive_until_the_job_is_stopped(runner: Runner) -> None:
    reports: list[tuple[int, float, str]] = []
    gate = Gate()
    number = runner.submit(
        "a", pass_gate, (gate, 1), lane="long", deliver=Box(), report=lambda r, f, t: reports.append((r.number, f, t))
    )
    gate.go_on.set()
    runner.wait("a", LONG)
    assert reports == [(number, 0.5, "half")]


@pytest.mark.parametrize(("elapsed", "num_reports"), [(0.29, 0), (0.31, 1)])
def test_a_quick_job_reports_only_once_it_has_taken_a_while(
    runner: Runner, clock: Clock, elapsed: float, num_reports: int
) -> None:
    reports: list[str] = []
    gate = Gate()
    runner.submit("a", pass_gate, (gate, 1), deliver=Box(), report=lambda r, f, t: reports.append(t))
    assert gate.begun.wait(LONG)
    clock.now = elapsed
    gate.go_on.set()
    runner.wait("a", LONG)
    assert len(reports) == num_reports


class Widget:
    _trait_values: dict[str, Any]

    def method(self, context: Context) -> None:
        """A method of something that has traits."""


Widget._trait_values = {}


@pytest.mark.parametrize("function", [lambda context: None, Widget().method, partial(lambda a, context: a, 1), 3])
def test_a_job_must_be_a_function_that_can_be_pickled(runner: Runner, function: Any) -> None:
    with pytest.raises(TypeError, match="a job must"):
        runner.submit("a", function, deliver=Box())
    assert runner.num_jobs("a") == 0


def test_the_long_lane_hands_jobs_to_an_executor() -> None:
    box, gate = Box(), Gate()
    with ThreadPoolExecutor(1) as executor:
        runner = Runner(executor)
        runner.submit("a", keep_partial, (gate,), lane="long", deliver=box)
        assert gate.begun.wait(LONG)
        runner.stop("a")  # a pool of threads shares the context
        runner.wait("a", LONG)
        runner.close("a")
    assert box.values == ["as far as it came"]


def test_an_executor_in_other_processes_gets_picklable_arguments_and_no_context() -> None:
    box = Box()
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as executor:
        runner = Runner(executor)
        runner.submit("a", sum, ([1, 2],), lane="long", deliver=box)
        runner.wait("a", LONG)
        runner.close("a")
    assert "keyword" in str(box.outcomes[0].error)  # sum() takes no context: the error came back from the process


def test_a_job_that_cannot_hear_stop_is_left_behind() -> None:
    class Never(ThreadPoolExecutor):
        def submit(self, *args: Any, **kwargs: Any) -> Future[Any]:  # type: ignore[override]
            return Future()

    class Deaf:
        """Neither a pool of threads nor one that rebuilds contexts."""

        submit = Never().submit

    box, runner = Box(), Runner(Deaf())  # type: ignore[arg-type]
    runner.submit("a", give, (1,), lane="long", deliver=box)
    runner.stop("a")
    runner.wait("a", LONG)
    assert all(isinstance(outcome.error, Cancelled) for outcome in box.outcomes)
    assert runner.num_jobs("a") == 0
    runner.close("a")


def test_an_executor_may_rebuild_the_context_by_its_own_means() -> None:
    class Elsewhere:
        """Stands for a cluster: the context that the job gets is not the one that was handed over."""

        def submit_with_context(self, function: Any, args: Any, kwargs: Any, context: Context) -> Future[Any]:
            outer = context

            class Rebuilt:
                def report(self, fraction: float, text: str) -> None:
                    outer.report(fraction, f"worker: {text}")

                def cancelled(self) -> bool:
                    return outer.cancelled()

            future: Future[Any] = Future()
            future.set_result(function(*args, context=Rebuilt(), **kwargs))
            return future

    texts: list[str] = []
    box, gate = Box(), Gate()
    gate.go_on.set()
    runner = Runner(Elsewhere())  # type: ignore[arg-type]
    runner.submit("a", pass_gate, (gate, 7), lane="long", deliver=box, report=lambda r, f, t: texts.append(t))
    runner.wait("a", LONG)
    runner.close("a")
    assert box.values == [7]
    assert texts == ["worker: half"]


def test_a_script_that_ends_while_a_job_runs_ends_quietly() -> None:
    """A thread that still computes when the interpreter is torn down aborts the process."""
    script = (
        "import torch; from dlwidgets import LatentSpaceExplorer\n"
        "explorer = LatentSpaceExplorer.train(torch.rand(30, 4, 4), beta=1, epochs=200)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
