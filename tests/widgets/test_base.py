"""Exhibit: what every widget does, tried on the smallest one that there can be."""

import sys
import threading
from typing import Any

import bqplot
import ipywidgets
import numpy as np
import pytest
import traitlets

from dlwidgets.compute.context import Context, tick
from dlwidgets.widgets import base
from dlwidgets.widgets.base import Exhibit, visible
from dlwidgets.widgets.runner import Runner, get_runner
from dlwidgets.widgets.tree import walk

LONG = 60.0


def square(x: int, context: Context | None) -> int:
    if x == 13:
        raise ValueError("x is 13, expected any other number")
    if x == 14:
        raise KeyError("lost")
    return x * x


def until_stopped(begun: threading.Event, context: Context) -> None:
    begun.set()
    step = 0
    while True:
        step += 1
        tick(context, step / (step + 1), f"step {step}")


def wait_for(gate: threading.Event, value: int, context: Context) -> int:
    assert gate.wait(LONG)
    return value


class Squares(Exhibit):
    """Shows the square of a number as a bar."""

    x = traitlets.Int(2).tag(sync=True)

    def __init__(self, x: int = 2, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        scales = {"x": bqplot.LinearScale(), "y": bqplot.LinearScale()}
        self.bars = bqplot.Bars(x=[0.0], y=[0.0], scales=scales)
        self.figure = bqplot.Figure(marks=[self.bars], axes=[bqplot.Axis(scale=scales["x"])])
        self.slider = ipywidgets.IntSlider(description="x", value=x)
        self.button = ipywidgets.Button(description="fail")
        self.slider.observe(self._react(self._on_slider), "value")
        self.button.on_click(self._react(self._on_click))
        self._link = self._own(ipywidgets.jslink((self.slider, "value"), (self.slider, "min")))
        self.children = [self.slider, self.button, self.figure]
        self._label(self.figure, "Square")
        self.x = x
        self._compute(square, x)

    @traitlets.validate("x")
    def _check_x(self, proposal: Any) -> int:
        if proposal["value"] < 0:
            raise traitlets.TraitError(f"x is {proposal['value']}, expected at least 0")
        return proposal["value"]

    @traitlets.observe("x")
    def _on_x(self, change: Any) -> None:
        self._compute(square, change["new"])

    def _on_slider(self, change: Any) -> None:
        self.x = change["new"]

    def _on_click(self, _: Any) -> None:
        raise RuntimeError("<script>no</script>")

    def _render(self) -> None:
        self.bars.x = np.array([0.0, 1.0])
        self.bars.y = np.array([0.0, float(self.result)])
        self.bars.colors = ["#0072b2"]

    def _describe(self) -> str:
        return f"the square is {self.result}"


@pytest.fixture
def squares(recorder: Any) -> Any:
    exhibit = Squares()
    exhibit.wait(LONG)
    recorder.clear()
    yield exhibit
    exhibit.close()


def test_the_result_arrives_and_is_drawn(squares: Squares) -> None:
    assert squares.result == 4
    assert squares.bars.y.tolist() == [0, 4]
    assert not squares._busy
    assert squares.error == ""


def test_the_display_says_its_content_in_words(squares: Squares) -> None:
    bundle = squares._repr_mimebundle_()
    assert bundle["text/plain"] == "the square is 4"
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == squares.model_id
    fresh = Squares(3)
    assert fresh._repr_mimebundle_()["text/plain"] == "the square is 9"  # waits for the first result
    fresh.close()


def test_unknown_arguments_are_named_with_the_valid_ones(recorder: Any, num_models: Any) -> None:
    before = num_models()
    with pytest.raises(TypeError, match=r"Squares got an unknown argument 'y'; valid names are: x, .*layout"):
        Squares(y=3)
    with pytest.raises(TypeError, match="unknown argument 'result'"):
        Squares(result=3)
    assert num_models() == before
    exhibit = Squares(layout={"width": "50%"})
    assert exhibit.layout.width == "50%"
    exhibit.close()


def test_one_change_costs_few_messages(squares: Squares, recorder: Any) -> None:
    squares.x = 5
    squares.wait(LONG)
    assert len(recorder.updates(squares.bars)) == 1
    assert set(recorder.updates(squares.bars)[0]) == {"y"}
    # x with the mark that it is busy, then the outcome
    assert [set(state) for state in recorder.updates(squares)] == [{"x"}, {"_busy"}, {"_busy", "_description"}]
    assert len(recorder.updates()) == 4
    # the outcome and what is drawn of it leave as one
    assert [data["method"] for _, _, data in recorder.packets] == ["update", "update", "custom"]
    recorder.clear()
    squares.x = 5
    squares.wait(LONG)
    assert recorder.messages == []


def test_a_failing_computation_is_shown_and_the_widget_goes_on(squares: Squares) -> None:
    squares.x = 13
    squares.wait(LONG)
    assert squares.error == "x is 13, expected any other number"
    assert squares.result == 4
    assert "error" in repr(squares)
    squares.x = 14
    squares.wait(LONG)
    assert squares.error == "KeyError: 'lost'"
    squares.x = 6
    squares.wait(LONG)
    assert squares.error == ""
    assert squares.result == 36


def test_a_failing_callback_is_shown_as_text(squares: Squares, recorder: Any) -> None:
    recorder.send_custom(squares.button, {"event": "click"})
    assert squares.error == "RuntimeError: <script>no</script>"
    recorder.send(squares.slider, value=3)
    squares.wait(LONG)
    assert squares.error == ""
    assert squares.result == 9


def test_a_refused_selection_raises_in_python_and_is_shown_in_the_page(squares: Squares, recorder: Any) -> None:
    with pytest.raises(traitlets.TraitError, match="x is -1, expected at least 0"):
        squares.x = -1
    assert squares.error == ""
    recorder.send(squares, x=-2)
    assert squares.error == "x is -2, expected at least 0"
    assert squares.x == 2
    assert recorder.state[squares.model_id]["x"] == 2  # the page shows what is true again


def test_a_failing_drawing_is_shown(squares: Squares, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("cannot draw")

    monkeypatch.setattr(squares, "_render", broken)
    squares._draw()
    assert squares.error == "RuntimeError: cannot draw"


def test_progress_and_stop(squares: Squares, recorder: Any) -> None:
    begun = threading.Event()
    seen = threading.Event()
    squares.observe(lambda change: seen.set() if change["new"] else None, "_progress")
    squares._compute(until_stopped, begun, lane="long", topic="train")
    assert begun.wait(LONG)
    assert seen.wait(LONG)
    assert set(squares._progress) == {"fraction", "text"}
    assert 0 <= squares._progress["fraction"] <= 1
    assert squares._progress["text"].startswith("step ")
    squares.x = 7  # a slider does not end it
    get_runner().wait(squares, LONG, lane="quick")
    assert squares.result == 49
    assert squares._busy
    recorder.send_custom(squares, {"type": "stop"})
    squares.wait(LONG)
    assert squares._progress is None
    assert not squares._busy
    assert squares.error == ""


def test_messages_that_mean_nothing_are_ignored(squares: Squares, recorder: Any) -> None:
    for content in ({"type": "dance"}, {}, [], "stop", None, 3):
        recorder.send_custom(squares, content)
    assert squares.error == ""


def test_an_older_outcome_is_dropped(squares: Squares) -> None:
    gate = threading.Event()
    squares._compute(wait_for, gate, -1, lane="long")  # asked first, ready last
    squares.x = 8
    get_runner().wait(squares, LONG, lane="quick")
    gate.set()
    squares.wait(LONG)
    assert squares.result == 64


def test_wait_refuses_to_wait_for_itself(squares: Squares) -> None:
    errors: list[str] = []

    def inside(_: Any) -> None:
        try:
            squares.wait()
        except RuntimeError as error:
            errors.append(str(error))

    squares.observe(inside, "result")
    squares.x = 3
    squares.wait(LONG)
    assert len(errors) == 1
    assert "would wait for itself" in errors[0]
    gate = threading.Event()
    squares._compute(wait_for, gate, 1, topic="other", then=lambda value: None)
    with pytest.raises(TimeoutError):
        squares.wait(0.01)
    gate.set()
    squares.wait(LONG)


def test_close_frees_every_model_and_is_quiet_afterwards(recorder: Any, num_models: Any) -> None:
    before = num_models()
    exhibit = Squares()
    exhibit.wait(LONG)
    models = list(walk(exhibit))
    kinds = {type(model).__name__ for model in models}
    assert {"Squares", "Figure", "Axis", "LinearScale", "Bars", "Layout", "SliderStyle", "IntSlider"} <= kinds
    assert num_models() > before + 10
    exhibit.close()
    assert num_models() == before
    assert all(model.comm is None for model in models)
    assert exhibit._link.comm is None
    assert exhibit.result == 4
    recorder.clear()
    exhibit.x = 3
    exhibit.wait(LONG)
    exhibit.close()
    assert recorder.messages == []
    assert exhibit.result == 4
    assert "closed" in repr(exhibit)


def test_close_in_the_middle_of_a_job(recorder: Any, num_models: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = Runner()  # of its own, so that no other exhibit keeps its threads alive
    monkeypatch.setattr(base, "get_runner", lambda: runner)
    before = num_models()
    exhibit = Squares()
    begun = threading.Event()
    exhibit._compute(until_stopped, begun, lane="long", topic="train")
    assert begun.wait(LONG)
    threads = [lane.thread for lane in runner._lanes.values() if lane.thread is not None]
    assert len(threads) == 2
    exhibit.close()
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive()
    assert num_models() == before


def publish_squares(x: int, context: Context) -> int:
    for value in range(x):
        context.publish(value * value)
    return x * x


def test_what_a_job_publishes_is_drawn_at_once(squares: Squares, recorder: Any) -> None:
    def show(value: int) -> None:
        squares.bars.y = [float(value)]
        squares.bars.x = [float(value)]

    squares.wait(LONG)
    recorder.clear()
    squares._compute(publish_squares, 4, published=show)
    squares.wait(LONG)
    assert squares.result == 16
    assert len(recorder.updates(squares.bars)) == 4 + 1, "one message a value, and one for the result"


def test_labels_reach_the_page(recorder: Any) -> None:
    exhibit = Squares()
    exhibit._label(exhibit.slider, "bad\u202ename\x00")
    assert exhibit._labels[exhibit.figure.model_id] == ["Square", ""]
    assert exhibit._labels[exhibit.slider.model_id] == ["bad\\u202ename\\u0000", ""]
    exhibit.close()


def test_the_repr_names_the_selection(squares: Squares) -> None:
    assert repr(squares) == "<Squares(x=2) ready>"


@pytest.mark.parametrize(
    ("text", "shown"),
    [("conv1", "conv1"), ("<b>", "<b>"), ("a\u202eb", "a\\u202eb"), ("\x00", "\\u0000"), ("é 日本\n", "é 日本\n")],
)
def test_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.fixture
def hasty_threads() -> Any:
    """Switch threads as often as the interpreter can, so that what can go wrong does."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def test_linked_exhibits_do_not_stop_each_other(recorder: Any, hasty_threads: None) -> None:
    """Each sets the other's trait from another thread at the same time: two locks would stop both for ever."""
    a, b = Squares(), Squares()
    link = traitlets.link((a, "x"), (b, "x"))

    def drag(exhibit: Squares, values: range) -> None:
        for value in values:
            recorder.send(exhibit, x=value)

    threads = [
        threading.Thread(target=drag, args=(a, range(20, 220)), daemon=True),
        threading.Thread(target=drag, args=(b, range(300, 500)), daemon=True),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive()
    a.wait(LONG)
    b.wait(LONG)
    assert a.x == b.x
    assert a.result == b.result == a.x**2
    link.unlink()
    a.close()
    b.close()


@pytest.mark.parametrize("attempt", range(5))
def test_hammer_one_widget_from_the_runner_and_from_the_front_end(
    recorder: Any, attempt: int, hasty_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last state sent equals Python's for every model, and no message leaves without the lock."""
    exhibit = Squares()
    unlocked: list[Any] = []
    take = recorder.take

    def watched(*message: Any) -> None:
        if not Exhibit._lock._is_owned():
            unlocked.append(message)
        take(*message)

    monkeypatch.setattr(recorder, "take", watched)
    begun = threading.Event()
    exhibit._compute(until_stopped, begun, lane="long", topic="train")
    assert begun.wait(LONG)

    def from_slider() -> None:
        for value in range(15, 315):
            recorder.send(exhibit.slider, value=value % 90 + 15)

    def from_page() -> None:
        for value in range(15, 315):
            recorder.send(exhibit, x=value)
            if value % 50 == 0:
                recorder.send_custom(exhibit.button, {"event": "click"})

    def from_cell() -> None:
        for value in range(15, 315):
            exhibit.x = value
            exhibit.slider.max = 1000 + value
            exhibit.bars.opacities = [value / 1000]

    threads = [threading.Thread(target=work, daemon=True) for work in (from_slider, from_page, from_cell)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive()
    recorder.send_custom(exhibit, {"type": "stop"})
    exhibit.wait(LONG)
    assert unlocked == []
    for widget in walk(exhibit):
        sent, true = recorder.state[widget.model_id], widget.get_state()
        assert sent.keys() == true.keys()
        for name in true:
            assert _plain(sent[name]) == _plain(true[name]), (widget, name)
    exhibit.close()


def _plain(value: Any) -> Any:
    if isinstance(value, memoryview | bytes | bytearray):
        return bytes(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def test_what_was_asked_before_a_mistake_does_not_hide_it(squares: Squares, recorder: Any) -> None:
    gate = threading.Event()
    squares._compute(wait_for, gate, 5, topic="other", then=lambda value: None)
    recorder.send_custom(squares.button, {"event": "click"})  # fails while that one waits
    gate.set()
    squares.wait(LONG)
    assert squares.error == "RuntimeError: <script>no</script>"
    squares.x = 5
    squares.wait(LONG)
    assert squares.error == ""


def test_who_asked_hears_of_a_failure(squares: Squares) -> None:
    heard: list[BaseException] = []
    squares._compute(square, 13, topic="other", failed=heard.append)
    squares.wait(LONG)
    assert [str(error) for error in heard] == ["x is 13, expected any other number"]
    assert squares.error == "x is 13, expected any other number"


def hand_over(values: list[int], context: Any) -> None:
    for value in values:
        context.publish(value)


def test_a_job_hands_over_what_it_has_so_far(squares: Squares) -> None:
    seen: list[int] = []
    squares._compute(
        hand_over, [1, 2, 3], lane="long", topic="train", published=seen.append, then=lambda value: seen.append(-1)
    )
    squares.wait(LONG)
    assert seen == [1, 2, 3, -1]
