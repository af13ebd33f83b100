"""GradientFlowMeter without a browser: live redraws, what it shows and refuses, and that training stays as it was."""

import gc
import math
import re
import threading
import time
import warnings
import weakref
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import bqplot
import numpy as np
import pytest
import torch
import traitlets
from torch import Tensor, nn

from dlwidgets.compute.gradient_flow import profile_at_initialisation, watch
from dlwidgets.compute.gradient_flow.picture import (
    HEALTHY,
    PARAMETER_QUANTITIES,
    QUANTITIES,
    color_bar,
    decades,
    drawn_steps,
    heat_map,
    index_ticks,
    linear_curve,
    log_curve,
    loss_curve,
    powers_of_ten,
    round_ticks,
    row_at,
    row_boxes,
    thinned,
    tile_boxes,
)
from dlwidgets.widgets.busy_kernel import _Lookup
from dlwidgets.widgets.gradient_flow import NOBODY, GradientFlowMeter
from dlwidgets.widgets.gradient_flow_charts import Rims, relabel
from dlwidgets.widgets.gradient_flow_polling import EARLY, SHORTEST_PAUSE, Polling
from dlwidgets.widgets.gradient_flow_words import percent

LIMIT = 60.0


def small_network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))


def sigmoid_network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(42, 128), nn.Sigmoid(), *[nn.Linear(128, 128), nn.Sigmoid()] * 24, nn.Linear(128, 1))


def train(
    model: nn.Module, optimizer: torch.optim.Optimizer, steps: int, each: Callable[[Tensor], None] | None = None
) -> list[float]:
    """Somebody else's loop."""
    generator = torch.Generator().manual_seed(1)
    losses = []
    for _ in range(steps):
        x = torch.randn(16, next(model.parameters()).shape[1], generator=generator)
        loss = nn.functional.mse_loss(model(x), x[:, :1])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
        if each is not None:
            each(loss)
    return losses


def num_hooks(model: nn.Module) -> int:
    return sum(
        len(getattr(module, name))
        for module in model.modules()
        for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    )


@pytest.fixture
def trained(recorder: Any) -> Any:
    model = small_network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    meter = GradientFlowMeter(model, optimizer)
    with meter:
        train(model, optimizer, 20, lambda loss: meter.log(loss=loss))
    recorder.clear()
    yield meter
    meter.close()


# What it shows


def test_the_result_is_what_the_engine_sees(trained: GradientFlowMeter) -> None:
    model = small_network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    with watch(model, optimizer) as flow:
        losses = train(model, optimizer, 20)
    expected = flow.result()
    assert trained.result.steps.tolist() == [0, 1, 3, 7, 15]
    assert torch.equal(trained.result.gradient_norm, expected.gradient_norm)
    assert torch.equal(trained.result.update_ratio, expected.update_ratio)
    assert trained.result.loss.tolist() == losses
    assert trained.error == ""
    assert not trained.attached


def test_the_pictures_hold_the_numbers_of_the_selected_step(trained: GradientFlowMeter) -> None:
    flow, pictures = trained.result, trained._pictures
    for step, row in ((None, 4), (0, 0), (7, 3), (9, 3), (19, 4)):
        trained.step = step
        np.testing.assert_allclose(pictures.profile_dots.y, flow.gradient_norm[row], rtol=1e-6)
        np.testing.assert_allclose(pictures._mean.y, flow.activation_mean[row], rtol=1e-6)
        np.testing.assert_allclose(pictures._zeros[0].y, flow.zero_fraction[row], rtol=1e-6)
        np.testing.assert_allclose(pictures.parameters.dots.y, flow.update_ratio[row], rtol=1e-6)
        assert trained._slider.value == row
        assert trained._follow.value is (step is None)
        assert f"step {int(flow.steps[row])}" in pictures._profile.figure.title
    np.testing.assert_allclose(pictures.heat.image, flow.gradient_norm.T.log10(), rtol=1e-6)
    np.testing.assert_allclose(pictures._loss_line.y, flow.loss, rtol=1e-6)
    assert pictures.profile_dots.names[0] == f"0: 0 (Linear), gradient norm {float(flow.gradient_norm[4, 0]):.4g}"
    assert pictures.parameters._healthy.y[:, 0].tolist() == pytest.approx(HEALTHY)


def test_a_click_on_a_cell_goes_back_to_its_step_and_shows_its_position(trained: Any, recorder: Any) -> None:
    recorder.send(trained._pictures.heat, selected=[3, 2])
    assert (trained.position, trained.step) == (3, 3)
    flow = trained.result
    assert trained._about.value.startswith(
        f"3 (Tanh) in step 3: gradient norm {float(flow.gradient_norm[2, 3]):.4g}; activations"
    )
    np.testing.assert_allclose(trained._pictures._history_line.y, flow.gradient_norm[:, 3], rtol=1e-6)
    assert trained._pictures._history_line.x.tolist() == flow.steps.tolist()
    recorder.send(trained._pictures.heat, selected=[3, 4])
    assert trained.step is None  # the newest
    recorder.send(trained._pictures.heat, selected=[])
    assert trained.position is None
    assert trained._about.value == ""
    assert trained.error == ""


def test_controls_and_traits_follow_each_other(trained: Any, recorder: Any) -> None:
    assert (trained._slider.disabled, trained._shown_step.value) == (False, "step 15")
    recorder.send(trained._slider, value=2)  # lets go of the newest step
    assert (trained.step, trained._follow.value, trained._shown_step.value) == (3, False, "step 3")
    recorder.send(trained._follow, value=True)
    assert (trained.step, trained._slider.value, trained._shown_step.value) == (None, 4, "step 15")
    recorder.send(trained._follow, value=False)
    assert trained.step == 15
    recorder.send(trained._slider, value=1)
    assert trained.step == 1
    recorder.send(trained._follow, value=True)
    assert trained.step is None
    recorder.send(trained._follow, value=False)
    recorder.send(trained._quantity_choice, index=list(QUANTITIES).index("zeros"))
    assert trained.quantity == "zeros"
    np.testing.assert_allclose(trained._pictures.heat.image, trained.result.zero_fraction.T, rtol=1e-6)
    trained.position = 2
    assert trained._position_choice.value == 2
    recorder.send(trained._position_choice, index=0)
    assert trained.position is None
    assert trained._position_choice.value == NOBODY
    recorder.send_custom(trained._pictures.profile_dots, {"event": "element_click", "data": {"index": 4}})
    assert trained.position == 4
    assert trained._pictures.heat.selected == [4, 4]


def test_a_redraw_sends_each_model_at_most_one_message(trained: Any, recorder: Any) -> None:
    recorder.clear()
    trained.step = 3
    senders = [model_id for model_id, kind, _ in recorder.messages if kind == "comm_msg"]
    assert len(senders) == len(set(senders))
    assert len(senders) <= 20


def test_parameters_are_shown_by_update_gradient_or_weight(trained: Any, recorder: Any) -> None:
    flow, parameters, norms = trained.result, trained._pictures.parameters, list(PARAMETER_QUANTITIES)
    for quantity, field in (("gradient norm", "parameter_gradient_norm"), ("weight norm", "weight_norm")):
        recorder.clear()
        recorder.send(parameters.choice, index=norms.index(quantity))
        assert trained.parameter_quantity == quantity
        assert [sent for sent, kind, _ in recorder.messages if kind == "comm_msg"].count(parameters.dots.model_id) == 1
        for step, row in ((None, 4), (3, 2)):
            trained.step = step
            values = getattr(flow, field)[row]
            np.testing.assert_allclose(parameters.dots.y, values, rtol=1e-6)
            assert parameters.dots.names[1] == f"1: 0.bias, {quantity} {float(values[1]):.4g}"
            assert parameters.chart.figure.title == f"{quantity}, step {int(flow.steps[row])}"
            label = parameters.chart.ruler.label
            assert label == ("norm of dL/d(parameter)" if quantity == "gradient norm" else "")
            assert parameters.chart.scales["y"].min <= float(values.min())
            assert parameters.chart.scales["y"].max >= float(values.max())
        assert len(parameters._healthy.x) == 0  # the band is about the ratio
        assert hidden(parameters.keyed.children[1].children[0])
        assert trained._labels[parameters.chart.figure.model_id][0] == f"{quantity} by parameter"
    trained.parameter_quantity = "update / weight"
    assert parameters.choice.value == "update / weight"
    assert parameters._healthy.x.tolist() == [-0.5, 5.5]
    np.testing.assert_allclose(parameters.dots.y, flow.update_ratio[2], rtol=1e-6)
    assert trained.error == ""


def test_a_verdict_is_a_sentence_that_leads_to_its_rows() -> None:
    model = sigmoid_network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    meter = GradientFlowMeter(model, optimizer)
    with meter:
        train(model, optimizer, 2)
    shown = [button for button in meter._verdicts.buttons if "dlw-hidden" not in button._dom_classes]
    assert [button.description for button in shown] == [verdict.sentence for verdict in meter.result.verdicts]
    evidence = meter.result.verdicts[0].evidence
    assert shown[0].tooltip.startswith(f"vanishing: gradient norm {evidence['gradient_norm']:.4g}, ")
    assert shown[0].tooltip.endswith(", threshold 0.001. Press to show its rows.")
    kinds = [verdict.kind for verdict in meter.result.verdicts]
    assert kinds[:2] == ["vanishing", "shared module"]
    shown[1].click()
    shared = meter.result.verdicts[1]
    assert len(shared.positions) == 24
    rows = [meter.result.positions.index(position) for position in shared.positions]
    assert meter._pictures.heat.boxes[:, 0].tolist() == rows
    assert meter.position == rows[0]
    assert shared.sentence in meter._about.value
    assert "mod-active" in shown[1]._dom_classes
    shown[1].click()
    assert meter._pictures.heat.boxes is None
    lost = meter.result.verdicts[2]
    assert (lost.kind, lost.positions, lost.parameters) == ("update lost to rounding", (), ("0.weight", "0.bias"))
    shown[2].click()
    assert (meter.position, meter._pictures.heat.boxes[:, 0].tolist()) == (0, [0])  # the module that owns them
    assert lost.sentence in meter._about.value
    parameters = meter._pictures.parameters
    dots = [mark.x[mark.selected] for mark in (parameters.dots, *rims(parameters.rims)) if mark.selected is not None]
    assert sorted(np.concatenate(dots)) == [0, 1]
    assert meter.error == ""
    meter.close()


def test_a_shared_gradient_is_split_by_call_and_a_dot_leads_to_its_position(recorder: Any) -> None:
    model = sigmoid_network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    meter = GradientFlowMeter(model, optimizer)
    calls = meter._pictures.calls
    assert "dlw-hidden" in calls.box._dom_classes
    with meter:
        train(model, optimizer, 2)
    assert "dlw-hidden" not in calls.box._dom_classes
    shared = meter.result.shared[0]
    assert (shared.parameter, len(shared.positions)) == ("2.weight", 24)
    np.testing.assert_allclose(calls.dots.y, shared.gradient_norm[-1], rtol=1e-6)
    assert calls.dots.y[0] < 1e-17 < 1e-2 < calls.dots.y[-1]
    scale = calls.chart.scales["y"]
    assert scale.min <= calls.dots.y[0] < calls.dots.y[-1] <= scale.max
    norm, share = float(shared.gradient_norm[-1, 0]), float(shared.share[-1, 0])
    assert calls.dots.names[0] == f"call 0: norm {norm:.4g}, {share:.4g} of the sum of squares"
    assert calls.dots.selected is None
    norm_key, picked_key = calls.box.children[1].children
    assert (hidden(norm_key), hidden(picked_key)) == (False, True)
    assert norm_key.value == "norm of what each call adds to the gradient of 2.weight"
    recorder.send_custom(calls.dots, {"event": "element_click", "data": {"index": 23}})
    assert meter.position == shared.positions[23]
    assert calls.dots.selected.tolist() == [23]
    assert (hidden(norm_key), hidden(picked_key)) == (False, False)
    norm, share = float(shared.gradient_norm[-1, 23]), float(shared.share[-1, 23])
    said = f"this one contributes a gradient of norm {norm:.4g}, {share:.4g} of the sum of squares over the calls."
    assert f"2.weight is used at 24 positions: {said}" in meter._about.value
    assert meter.error == ""
    meter.close()


def test_dead_units_are_listed(recorder: Any) -> None:
    model = nn.Sequential(nn.Linear(6, 20), nn.ReLU(), nn.Linear(20, 1))
    with torch.no_grad():
        model[0].bias[[2, *range(5, 20)]] = -100.0
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    meter = GradientFlowMeter(model, optimizer)
    with meter:
        train(model, optimizer, 2)
    meter.position = 1
    dead = [2, *range(5, 16)]
    said = f"Zero on every sample so far: 16 of 20 units ({', '.join(map(str, dead))}, …)."
    assert said in meter._about.value
    meter.position = 0
    assert "Zero on every sample" not in meter._about.value
    meter.close()


def test_lines_say_their_numbers_under_the_mouse(trained: GradientFlowMeter) -> None:
    flow, pictures = trained.result, trained._pictures
    hints = pictures._activation_hints
    assert len(hints.x) == 2 * len(flow.positions)
    mean, std = (float(table[-1, 3]) for table in (flow.activation_mean, flow.activation_std))
    numbers = [f"mean {mean:.4g}", f"standard deviation {std:.4g}"]
    assert hints.names[3] == f"3: 3 (Tanh): {', '.join(numbers)}"
    assert hints.names[3 + len(flow.positions)] == f"3: 3 (Tanh): {', '.join(reversed(numbers))}"
    assert pictures._loss_hints.names[2] == f"step 2: loss {float(flow.loss[2]):.4g}"
    assert pictures._history_hints.names[1] == f"step 1: gradient norm {float(flow.gradient_norm[1, 0]):.4g}"
    shares = (float(table[-1, 1]) for table in (flow.zero_fraction, flow.saturated_fraction, flow.dead_fraction))
    numbers = [f"{name} {share:.4g}" for name, share in zip(("zeros", "saturated", "dead units"), shares, strict=True)]
    said = [name for name in pictures._fraction_hints.names if name.startswith("1: 1 (ReLU): ")]
    assert len(said) == 3
    assert all(number in name for name in said for number in numbers)  # whichever of the points lies on top
    for mark in (hints, pictures._fraction_hints):
        assert len(set(mark.names)) == len(mark.names)  # bqplot leaves points of equal names without a style


def rims(each: Rims) -> tuple[Any, Any]:
    return each.zeros, each.lost


def hidden(widget: Any) -> bool:
    return "dlw-hidden" in widget._dom_classes


def test_the_colours_have_their_numbers(trained: GradientFlowMeter) -> None:
    bar, flow = trained._pictures.color_bar, trained.result
    assert not hidden(bar.figure)
    assert bar._strip.image[0, 0] == pytest.approx(float(flow.gradient_norm.log10().min()), rel=1e-6)
    assert bar._strip.image[0, -1] == pytest.approx(float(flow.gradient_norm.log10().max()), rel=1e-6)
    assert len(bar._axis.tick_labels) >= 2
    trained.quantity = "dead units"  # all of them are 0: no range
    assert hidden(bar.figure) == (float(flow.dead_fraction.nan_to_num().max()) == 0)
    trained.quantity = "activation mean"
    assert not hidden(bar.figure)
    assert trained.error == ""


def test_a_color_bar_puts_each_number_where_its_colour_is() -> None:
    powers = color_bar(torch.tensor([[-20.5, math.nan], [-math.inf, 0.5]]), True)
    assert powers.labels == ("1e-20", "1e-15", "1e-10", "1e-5", "1e+0")
    for at, label in zip(powers.at, powers.labels, strict=True):
        assert -20.5 + at / 128 * 21.0 == pytest.approx(math.log10(float(label)), abs=0.02)
    plain = color_bar(torch.tensor([[-1.0, 3.0]]), False)
    for at, label in zip(plain.at, plain.labels, strict=True):
        assert -1.0 + at / 128 * 4.0 == pytest.approx(float(label), abs=0.01)
    narrow = color_bar(torch.tensor([[0.1, 0.3]]), True)
    assert narrow.labels == ("1.3e+0", "2.0e+0")
    for image in (torch.zeros(2, 2), torch.full((2, 2), math.nan)):
        assert color_bar(image, True) is None


def test_keys_name_only_what_is_drawn(trained: GradientFlowMeter) -> None:
    pictures = trained._pictures
    for keyed, marks in (
        (pictures._profile_keyed, [pictures._profile_rims.zeros, pictures._profile_rims.lost]),
        (pictures._fractions_keyed, [*pictures._zeros, *pictures._saturated, *pictures._dead]),
        (pictures._history_keyed, [pictures._history_line, *rims(pictures._history_rims)]),
        (pictures._loss_keyed, [pictures._loss_missing]),
        (pictures._heat_keyed, [SimpleNamespace(x=pictures.heat.image[~np.isfinite(pictures.heat.image)])]),
        (pictures.parameters.keyed, [pictures.parameters._healthy, *rims(pictures.parameters.rims)]),
    ):
        labels = keyed.children[1].children
        assert [not hidden(label) for label in labels] == [len(mark.x) > 0 for mark in marks]
    assert hidden(pictures._profile_keyed.children[1].children[0])


def test_values_with_nothing_between_are_dots(trained: GradientFlowMeter) -> None:
    pictures = trained._pictures
    line, dots = pictures._saturated
    assert len(line.x) == 0
    assert dots.x.tolist() == [1, 3]  # ReLU and Tanh: Linear layers have no such share
    line, dots = pictures._zeros
    assert (len(line.x), len(dots.x)) == (5, 0)


def test_before_the_first_step_there_is_only_the_sentence_what_to_do() -> None:
    model = small_network()
    meter = GradientFlowMeter(model)

    def shown() -> set[Any]:
        return {child for child in meter.children if not hidden(child)}

    assert shown() == {meter._state, meter._verdicts.box}
    assert meter._state.value.startswith("Nothing seen yet: train inside `with meter:`")
    assert all(hidden(child) for child in meter._verdicts.box.children)
    with meter:
        assert shown() == {meter._state, meter._verdicts.box}
        train(model, torch.optim.SGD(model.parameters(), lr=0.01), 2)
    assert shown() == set(meter.children)
    meter.attach()  # anew: what is shown is not of the record before
    assert shown() == {meter._state, meter._verdicts.box}
    assert meter._state.value == "Watching: no step has ended yet."
    meter.close()


def test_it_says_what_the_numbers_of_an_axis_are_and_what_has_no_row(trained: GradientFlowMeter) -> None:
    names = [name for name, _ in small_network().named_parameters()]
    said = ", ".join(f"{index}: {name}" for index, name in enumerate(names))
    assert trained._pictures.parameters.words.value == f"Parameters: {said}."
    texts = [getattr(child, "value", "") for child in trained._pictures.top.children]
    assert any("torch.relu(x), has no row" in text for text in texts)
    assert any("of a position is that of dL/d(its output), over the whole batch" in text for text in texts)
    pictures = trained._pictures
    assert pictures._profile.ruler.label == pictures._history.ruler.label == "norm of dL/d(output)"
    cost = re.escape("Steps 0, 1, 3, 7, … 63 are looked at whatever that costs: ")
    assert re.search(
        rf"sampled, the last one step 15\. {cost}so far [\d.]+ % of the training's own time", trained._state.value
    )
    assert "The meter takes" not in trained._state.value


# Live


def wait_until(condition: Callable[[], bool]) -> None:
    """Train on until the meter's own thread has got so far."""
    done = threading.Event()
    for _ in range(int(LIMIT / 0.01)):
        if condition():
            return
        done.wait(0.01)
    raise AssertionError("never happened")


def test_it_redraws_from_its_own_thread_while_the_loop_keeps_this_one_busy(recorder: Any) -> None:
    model = small_network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    meter = GradientFlowMeter(model, optimizer)
    with meter:
        seen: set[int] = set()
        deadline = time.monotonic() + LIMIT
        while len(seen) < 3:  # an ordinary loop that never gives way
            assert time.monotonic() < deadline
            train(model, optimizer, 1, lambda loss: meter.log(loss=loss))
            if meter.result is not None and len(meter.result.steps):
                seen.add(len(meter.result.loss))
        heat = recorder.state[meter._pictures.heat.comm.comm_id]
        assert meter.attached
    assert len(heat["image"]["shape"]) == 2
    assert meter.step is None  # the slider went with the newest step, and has not let go of it
    assert meter._slider.value == meter._slider.max == len(meter.result.steps) - 1 > 0
    meter.close()


@pytest.mark.parametrize(
    ("features", "note"),
    [((), "This kernel answers clicks when the cell has ended."), (("kernel subshells",), "")],
)
def test_a_kernel_that_hears_clicks_only_between_cells_is_named(
    monkeypatch: pytest.MonkeyPatch, features: tuple, note: str
) -> None:
    kernel = SimpleNamespace(kernel_info={"supported_features": features})
    monkeypatch.setattr("IPython.get_ipython", lambda: SimpleNamespace(kernel=kernel))
    model = small_network()
    meter = GradientFlowMeter(model)
    with meter:
        train(model, torch.optim.SGD(model.parameters(), lr=0.01), 2)
        meter._update()
        assert meter._state.value.startswith("Watching: 2 steps")
        assert meter._state.value.endswith(note or " %.")
    assert "answers clicks" not in meter._state.value
    meter.close()


def test_a_question_on_a_comm_that_is_not_open_goes_to_a_subshell_once() -> None:
    subshells: list[str] = []
    comms = SimpleNamespace(comms={"open": "a comm"})
    comms.get_comm = comms.comms.get
    kernel: Any = SimpleNamespace(comm_manager=comms)
    find, question = _Lookup(kernel, threading.RLock()), {"method": "request_states"}

    def where(comm_id: str, data: dict) -> str | None:
        """To which shell the kernel's sorting thread hands a message."""
        found: list[str | None] = []
        thread: Any = threading.Thread(target=lambda: found.append(find(comm_id)._reply_subshell_for(data, None)))
        thread.manager = SimpleNamespace(list_subshell=lambda: subshells)
        kernel.shell_channel_thread = thread
        thread.start()
        thread.join()
        return found[0]

    assert where("new", question) is None  # there is no subshell: the main one
    subshells.append("beside")
    assert where("new", {"method": "update"}) is None
    assert find("new") is None
    assert where("new", question) == "beside"
    assert find("new") is not None  # there it is answered
    assert find("new") is None
    assert find("open") == "a comm"


def test_it_redraws_at_most_ten_times_a_second_and_within_its_budget() -> None:
    moments: list[float] = []
    enough = threading.Event()

    def redraw() -> bool:
        moments.append(time.monotonic())
        if len(moments) > EARLY:
            enough.set()
        return True

    polling = Polling(redraw, budget=0.01)
    assert enough.wait(LIMIT)
    polling.stop()
    polling.join()
    assert min(np.diff(moments)) >= SHORTEST_PAUSE * 0.99
    assert not polling.alive


def test_the_thread_ends_with_detach_close_another_meter_and_exceptions() -> None:
    model = small_network()

    def threads() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "dlwidgets-meter"]

    meter = GradientFlowMeter(model)
    assert threads() == []
    meter.attach()
    assert len(threads()) == 1
    meter.detach()
    meter.detach()
    assert threads() == []
    meter.attach()
    meter.close()
    assert threads() == []
    assert num_hooks(model) == 0
    meter = GradientFlowMeter(model)
    with pytest.raises(ZeroDivisionError), meter:
        _ = 1 / 0
    assert threads() == []
    meter.attach()
    other = GradientFlowMeter(model)
    with pytest.warns(UserWarning, match="already being watched"):
        other.attach()
    wait_until(lambda: len(threads()) == 1)
    assert not meter.attached
    other.close()
    meter.close()
    assert threads() == []


# Training is never harmed


def test_training_is_bitwise_the_same_with_the_widget() -> None:
    def run(watched: bool) -> tuple[list[float], list[Tensor], Tensor]:
        torch.manual_seed(3)
        model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 1))
        optimizer = torch.optim.Adam(model.parameters())
        if not watched:
            losses = train(model, optimizer, 70)
        else:
            meter = GradientFlowMeter(model, optimizer)
            with meter:
                losses = train(model, optimizer, 70, lambda loss: meter.log(loss=loss))
            assert meter.error == ""
            meter.close()
            assert num_hooks(model) == 0
        return losses, [each.clone() for each in model.state_dict().values()], torch.get_rng_state()

    bare, watched = run(False), run(True)
    assert bare[0] == watched[0]
    assert all(torch.equal(a, b) for a, b in zip(bare[1], watched[1], strict=True))
    assert torch.equal(bare[2], watched[2])


def test_a_loss_that_is_not_finite_is_a_verdict() -> None:
    model = small_network()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e30)
    meter = GradientFlowMeter(model, optimizer)
    with meter:
        losses = train(model, optimizer, 5, lambda loss: meter.log(loss=loss))
    assert not math.isfinite(losses[-1])
    assert meter.result.verdicts[0].kind == "non-finite"
    assert meter._verdicts.buttons[0].description == meter.result.verdicts[0].sentence
    assert meter.error == ""
    for quantity in QUANTITIES:
        meter.quantity = quantity
        assert meter.error == ""
    meter.close()


@pytest.fixture
def exploded() -> Any:
    """Finite gradients at first only; afterwards every number is nan."""
    torch.manual_seed(0)
    layers = [layer for _ in range(4) for layer in (nn.Linear(8, 8), nn.ReLU())]
    model = nn.Sequential(nn.Linear(6, 8), *layers, nn.Linear(8, 1))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(20.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e30)
    meter = GradientFlowMeter(model, optimizer)
    with meter:
        train(model, optimizer, 20, lambda loss: meter.log(loss=loss))
    assert meter.result.steps.tolist() == [0, 1, 3, 7, 15]
    finite = meter.result.gradient_norm.isfinite().all(1).tolist()
    assert finite[0]
    assert not any(finite[2:])
    yield meter
    assert meter.error == ""
    meter.close()


def test_a_cell_without_a_number_says_why(exploded: GradientFlowMeter) -> None:
    readout = exploded._pictures.readout

    def reason(position: int, column: int) -> str:
        assert math.isnan(exploded._pictures.heat.image[position, column])
        return readout.reasons[readout.missing[position, column]]

    assert reason(2, 4) == "gradient norm is not a number"
    exploded.quantity = "activation mean"
    assert reason(2, 4) == "activation mean is not a number"
    exploded.quantity = "saturated"
    assert reason(1, 0) == reason(1, 4) == "has no derivative of its own: nothing to saturate"  # a Linear
    assert reason(2, 4) == "saturated is not a number"
    exploded.quantity = "zeros"
    assert reason(2, 4) == "zeros is not a number"


def test_a_cell_that_was_not_used_says_so() -> None:
    class Alternating(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.unused = nn.Linear(6, 1), nn.Linear(6, 1), nn.Linear(6, 1)
            self.calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            self.unused(x)
            return (self.first if self.calls == 1 else self.second)(x)

    model = Alternating()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    meter = GradientFlowMeter(model, optimizer)
    with meter:
        train(model, optimizer, 2)
    (key,) = meter._pictures._heat_keyed.children[1].children
    assert not hidden(key)
    assert key.value == "0 or no number: point there for why"
    meter.quantity = "activation mean"
    assert key.value == "no number: point there for why"
    meter.quantity = "gradient norm"
    readout, names = meter._pictures.readout, [position.module for position in meter.result.positions]
    said = {name: readout.reasons[readout.missing[names.index(name), 1]] for name in ("first", "unused")}
    assert said == {"first": "not used in this step", "unused": "no gradient arrived in this step"}
    meter.position = names.index("first")
    assert meter._about.value.startswith("first (Linear) in step 1: not used.")
    meter.close()


def test_steps_that_are_not_finite_are_marked_and_a_single_number_is_a_dot(exploded: GradientFlowMeter) -> None:
    flow, pictures = exploded.result, exploded._pictures
    exploded.position = 2
    lost = flow.steps[~flow.gradient_norm[:, 2].isfinite()].tolist()
    assert pictures._history_rims.lost.x.tolist() == lost
    assert set(pictures._history_rims.lost.y) == {pictures._history.scales["y"].max}
    assert pictures._history_rims.lost.names[-1] == "step 15: gradient norm not finite"
    assert [hidden(label) for label in pictures._history_keyed.children[1].children] == [False, True, False]
    assert not hidden(pictures._loss_keyed.children[1].children[0])
    bad = [step for step, loss in enumerate(flow.loss.tolist()) if not math.isfinite(loss)]
    assert pictures._loss_missing.x.tolist() == bad
    assert 10 < len(bad) < 20
    for chart in (pictures._history, pictures._loss):
        scale = chart.scales["x"]
        assert (scale.min, scale.max) in ((0.0, 15.0), (0.0, 19.0))
        assert len(set(chart.floor.tick_values.astype(int))) == len(chart.floor.tick_values) > 1
    lost = pictures._profile_rims.lost
    assert lost.x.tolist() == list(range(len(flow.positions)))  # of the newest step
    assert set(lost.y) == {pictures._profile.scales["y"].max}
    assert lost.y[0] > pictures._profile.ruler.tick_values[-1]
    assert lost.marker == "triangle-up"
    assert pictures._profile_rims.shown == (False, True)
    assert [hidden(label) for label in pictures._profile_keyed.children[1].children] == [True, False]
    parameters = pictures.parameters
    for quantity in ("update/weight", "gradient norm", "weight norm"):
        exploded.parameter_quantity = quantity.replace("/", " / ")
        lost = parameters.rims.lost
        assert lost.x.tolist() == list(range(len(flow.parameters)))
        assert lost.names[0] == f"0: 0.weight, {quantity} not a number"
        assert lost.y[0] == parameters.chart.scales["y"].max > parameters.chart.ruler.tick_values[-1]
        assert parameters.rims.shown == (False, True)
    exploded.parameter_quantity = "update / weight"
    assert pictures._activations.figure.title == "activations: none finite"
    assert all(hidden(label) for label in pictures._activations_keyed.children[1].children)
    assert all(len(mark.x) == 0 for mark in (*pictures._zeros, *pictures._saturated, *pictures._dead))
    exploded.quantity = "dead units"
    assert np.isnan(pictures.heat.image[:, -1]).all()
    assert "gradient norm not a number; its activations are not all finite numbers." in exploded._about.value
    lone = loss_curve(replace(flow, loss=torch.tensor([3.0, math.nan]), loss_steps=torch.tensor([0, 1])))
    assert lone.lone.tolist() == [True]


def test_an_exact_zero_stands_below_the_axis_and_not_with_what_is_not_finite() -> None:
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 1))
    with torch.no_grad():
        model[0].bias.fill_(-100.0)  # nothing passes the ReLU
    meter = GradientFlowMeter(model)
    with meter:
        train(model, torch.optim.SGD(model.parameters(), lr=0.01), 3)
    pictures = meter._pictures
    for chart, each, name in (
        (pictures._profile, pictures._profile_rims, "0: 0 (Linear), gradient norm 0"),
        (pictures._history, pictures._history_rims, "step 0: gradient norm 0"),
        (pictures.parameters.chart, pictures.parameters.rims, "0: 0.weight, update/weight 0"),
    ):
        assert each.shown == (True, False)
        assert each.zeros.names[0] == name
        assert each.zeros.marker == "triangle-down"
        assert set(each.zeros.y) == {chart.scales["y"].min}
        assert 0 < chart.scales["y"].min < chart.ruler.tick_values[0] * 0.95
    labels = pictures._profile_keyed.children[1].children
    assert [label.value for label in labels if not hidden(label)] == ["0"]
    assert meter.error == ""
    meter.close()


def test_one_finite_loss_is_a_dot() -> None:
    model = small_network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    meter = GradientFlowMeter(model, optimizer)
    losses = iter([7421e9, math.nan])
    with meter:
        train(model, optimizer, 2, lambda _: meter.log(loss=next(losses)))
    pictures = meter._pictures
    assert (pictures._loss_dots.x.tolist(), pictures._loss_missing.x.tolist()) == ([0], [1])
    scale = pictures._loss.scales["y"]
    assert scale.min < 7421e9 < scale.max
    meter.close()


def test_a_verdict_leads_to_a_step_in_which_it_has_numbers(exploded: GradientFlowMeter) -> None:
    verdicts = exploded.result.verdicts
    index = next(i for i, each in enumerate(verdicts) if each.step is None and each.positions)
    exploded._on_verdict(index)
    table = exploded.result.gradient_norm
    columns = [exploded.result.positions.index(position) for position in verdicts[index].positions]
    assert exploded.step is not None
    row = exploded.result.steps.tolist().index(exploded.step)
    assert table[row, columns].isfinite().all()
    assert not table[row + 1 :, columns].isfinite().all(1).any()
    exploded.step = None
    exploded._on_verdict(index)  # lets go of it
    exploded.step = 0
    exploded._on_verdict(index)
    assert exploded.step == 0  # has numbers: stays


def test_shares_are_said_in_plain_digits() -> None:
    assert [percent(share) for share in (1.0, 0.999, 0.5, 0.0123, 12.0)] == [
        "100 %",
        "100 %",
        "50 %",
        "1.2 %",
        "1200 %",
    ]


def test_an_optimizer_that_never_steps_is_named() -> None:
    model = small_network()
    given, other = (torch.optim.SGD(model.parameters(), lr=0.01) for _ in range(2))
    meter = GradientFlowMeter(model, given)
    with meter:
        train(model, other, 3, lambda loss: meter.log(loss=loss))
        meter._update()
        assert meter._state.value.startswith("Watching: losses were logged, but no step has ended")
    assert "the optimizer that this meter was given has not stepped" in meter._state.value
    meter.close()


def test_new_labels_at_old_places_are_drawn_anew(recorder: Any) -> None:
    axis = bqplot.Axis(scale=bqplot.LinearScale())
    relabel(axis, [0.5, 1000.5], ["a", "b"])
    assert (axis.tick_values.tolist(), axis.tick_labels) == ([0.5, 1000.5], {"0.5": "a", "1000.5": "b"})
    recorder.clear()
    relabel(axis, [0.5, 1000.5], ["a", "b"])
    assert recorder.messages == []
    with axis.hold_sync():
        relabel(axis, [0.5, 1000.5], ["c", "b"])
    assert axis.tick_values.tolist() == [0.625, 1000.625]
    assert axis.tick_labels == {"0.625": "c", "1000.625": "b"}
    sent = [set(data["state"]) for _, kind, data in recorder.messages if kind == "comm_msg"]
    assert sent[0] == {"tick_labels"}  # before the places
    assert "tick_values" in set.union(*sent[1:])
    relabel(axis, [0.5, 1000.5], ["c", "b"])
    assert axis.tick_values.tolist() == [0.625, 1000.625]
    axis.close()


# Bad input


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ((3,), TypeError, "model must be a torch.nn.Module, got int"),
        ((small_network(), "sgd"), TypeError, "optimizer must be a torch.optim.Optimizer"),
        (
            (small_network(), torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=0.1)),
            ValueError,
            "steps none of the parameters",
        ),
        ((small_network(), None, 0.0), ValueError, "budget must be a share of the training time"),
        ((small_network(), None, "1 %"), TypeError, "budget must be a number"),
    ],
)
def test_bad_arguments_are_refused(arguments: tuple, error: type, said: str, num_models: Any) -> None:
    before = num_models()
    with pytest.raises(error, match=said):
        GradientFlowMeter(*arguments)
    assert num_models() == before


def test_bad_selections_are_refused(trained: GradientFlowMeter) -> None:
    with pytest.raises(traitlets.TraitError, match="quantity must be one of gradient norm"):
        trained.quantity = "colour"
    with pytest.raises(traitlets.TraitError, match="parameter_quantity must be one of update / weight, gradient norm"):
        trained.parameter_quantity = "zeros"
    with pytest.raises(traitlets.TraitError, match="position must be None or an index below 5, got 5"):
        trained.position = 5
    with pytest.raises(traitlets.TraitError, match="step must be None or a step, counted from 0, got -5"):
        trained.step = -5
    assert trained.step is None
    trained.attach()
    with pytest.raises(TypeError, match="loss must be a number"):
        trained.log(loss="low")
    with pytest.raises(TypeError, match="unknown argument 'colour'"):
        GradientFlowMeter(small_network(), colour=3)


def test_attaching_again_replaces_with_a_notice(trained: GradientFlowMeter) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trained.attach()
    with pytest.warns(UserWarning, match="the new meter replaces"):
        trained.attach()
    assert len(trained._meter.result().steps) == 0
    trained.detach()
    trained.close()
    with pytest.raises(RuntimeError, match="closed"):
        trained.attach()


def test_a_loss_that_no_step_can_have_is_not_taken_silently() -> None:
    model = small_network()
    meter = GradientFlowMeter(model)
    with pytest.warns(
        UserWarning, match=r"not noted, because the meter watches nothing now: log it inside `with meter"
    ):
        meter.log(loss=1.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with meter:
            train(model, optimizer, 2, lambda loss: meter.log(loss=loss))
    assert len(meter.result.loss) == 2
    meter.close()


@pytest.mark.parametrize("polled", [True, False])
def test_a_meter_that_was_replaced_says_so(polled: bool) -> None:
    model = small_network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    meter, other = GradientFlowMeter(model, optimizer), GradientFlowMeter(model, optimizer)
    meter.attach()
    train(model, optimizer, 2)
    with pytest.warns(UserWarning, match="the new meter replaces"):
        other.attach()
    if polled:
        wait_until(lambda: meter.error != "")
    meter.detach()
    assert meter.error == "Another meter was attached to this model and has replaced this one; what it had seen stays."
    assert len(meter.result.steps) == 2
    assert meter._state.value.startswith("Done: 2 steps")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(model, optimizer, 1, lambda loss: meter.log(loss=loss))  # said once is enough
    other.detach()
    assert other.error == ""
    with meter:
        assert meter.error == ""
    assert meter.error == ""
    meter.close()
    other.close()


def test_a_meter_that_was_replaced_at_once_says_nothing_untrue() -> None:
    model = small_network()
    meter, other = GradientFlowMeter(model), GradientFlowMeter(model)
    meter.attach()
    with pytest.warns(UserWarning, match="the new meter replaces"):
        other.attach()
    meter.detach()
    assert meter.error.endswith("has replaced this one before it saw a step.")
    assert meter._state.value == "Nothing was seen, and nothing is watched now."
    other.close()
    meter.close()


def test_a_closed_meter_keeps_no_model() -> None:
    model = small_network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    kept = weakref.ref(model), weakref.ref(optimizer), weakref.ref(model[0].weight)
    meter = GradientFlowMeter(model, optimizer)
    with meter:
        train(model, optimizer, 2)
    meter.attach()
    meter.close()
    del model, optimizer
    gc.collect()
    assert [reference() for reference in kept] == [None] * 3
    assert len(meter.result.steps) == 0  # attached anew
    assert not meter.attached
    meter.detach()


def test_a_model_without_parameters_says_that_there_is_nothing_to_train() -> None:
    meter = GradientFlowMeter(nn.Sequential(nn.ReLU()))
    said = "This model has no parameters, so there is nothing in it to train."
    assert said in meter._state.value
    with meter:
        assert meter._state.value.endswith(said)
    meter.close()
    meter = GradientFlowMeter(small_network())
    assert said not in meter._state.value
    meter.close()


# What pictures are made of


def test_a_log_axis_gets_what_it_can_show_and_hears_of_the_rest() -> None:
    values = torch.tensor([1e-300, 0.0, math.nan, 2.0, math.inf, 3e200], dtype=torch.float64)
    curve = log_curve(values)
    assert curve.x.tolist() == [0, 3, 5]
    assert curve.y.tolist() == [1e-44, 2.0, 1e36]
    assert (curve.zero.tolist(), curve.missing.tolist()) == ([1], [4])
    assert (curve.low, curve.high) == (pytest.approx(1e-44, abs=0), pytest.approx(1e36))
    assert len(curve.ticks) <= 6
    assert linear_curve(values[2:]).x.tolist() == [1, 3]
    empty = log_curve(torch.full((3,), math.nan, dtype=torch.float64))
    assert (len(empty.x), empty.low, empty.high) == (0, 0.1, 1.0)


def test_decades_enclose_and_ticks_are_powers_within() -> None:
    assert decades(torch.tensor([0.02, 3.0])) == (pytest.approx(0.01), pytest.approx(10.0))
    assert decades(torch.tensor([10.0])) == (pytest.approx(10.0), pytest.approx(100.0))
    for exponent in range(1, 40):
        ticks = powers_of_ten(1e-2, 10.0 ** (exponent - 2))
        assert 2 <= len(ticks) <= 6
        assert ticks[0] == pytest.approx(1e-2)
        assert ticks[-1] <= 10.0 ** (exponent - 2) * 1.01


def test_long_records_are_thinned_evenly(trained: GradientFlowMeter) -> None:
    assert thinned(5) == [0, 1, 2, 3, 4]
    many = thinned(10_000, 240)
    assert (many[0], many[-1], len(many)) == (0, 9_999, 240)
    assert max(np.diff(many)) - min(np.diff(many)) <= 1
    flow = trained.result
    assert drawn_steps(flow) == [0, 1, 2, 3, 4]
    assert [row_at(flow, step) for step in (None, 0, 2, 3, 14, 15, 10**9)] == [4, 0, 1, 2, 3, 4, 4]
    assert heat_map(flow, "zeros", [0, 4]).shape == (5, 2)
    assert loss_curve(flow).x.tolist() == list(range(20))


def test_many_rows_are_marked_without_hiding_the_colours_of_the_heat_map() -> None:
    assert row_boxes([3, 0, 1, 2], 6) == [(0, 0, 4, 6)]  # one outline around neighbours
    assert row_boxes([5, 2, 3], 6) == [(2, 0, 4, 6), (5, 0, 6, 6)]
    many = row_boxes(range(0, 20, 2), 6)
    assert many == [(row, 0, row + 1, 1) for row in range(0, 20, 2)]  # at the margin
    assert {right for *_, right in row_boxes(range(0, 20, 2), 240)} == {10}
    assert row_boxes([], 6) == []


def test_ticks_are_round_and_lie_within() -> None:
    for low, high in ((0, 51), (0, 1), (-0.12, 0.61), (0.75, 1.05), (3, 4e5), (0, 7e-9)):
        ticks = round_ticks(low, high)
        assert 2 <= len(ticks) <= 6
        assert low - 1e-9 * abs(high) <= ticks[0]
        assert ticks[-1] <= high + 1e-9 * abs(high)
        strides = np.diff(ticks)
        np.testing.assert_allclose(strides, strides[0], rtol=1e-6)
        assert f"{strides[0]:.0e}"[0] in "125"
    assert round_ticks(2.0, 2.0) == [2.0]
    assert index_ticks(1) == [0]
    assert index_ticks(51) == [0, 10, 20, 30, 40, 50]


# The laboratory


@pytest.fixture
def laboratory() -> Any:
    made = GradientFlowMeter.laboratory(
        {"depth": 6, "width": 16}, {"depth": 6, "width": 16, "activation": "tanh", "shared": True}
    )
    made.wait(LIMIT)
    yield made
    made.close()


def test_every_control_redraws_the_profile_and_its_theory(laboratory: Any, recorder: Any) -> None:
    panel = laboratory.left
    for name, value in (
        ("depth", 4),
        ("activation", "relu"),
        ("initialisation", "kaiming"),
        ("gain", 1.5),
        ("width", 32),
        ("shared", True),
        ("normalisation", "layer"),
        ("residual", True),
        ("optimizer", "adam"),
        ("learning_rate", 0.1),
    ):
        panel._controls[name].value = value
        panel.wait(LIMIT)
        assert panel.error == ""
        assert getattr(panel.configuration, name) == value
        expected = profile_at_initialisation(panel.configuration)
        assert hidden(panel._profile_keyed.children[1].children[2]) == (expected.theory is None)
        np.testing.assert_allclose(panel._median.y, expected.median, rtol=1e-6)
        np.testing.assert_allclose(panel._spread.y, torch.stack([expected.low, expected.high]), rtol=1e-6)
        if expected.theory is None:
            assert len(panel._theory.y) == 0
        else:
            np.testing.assert_allclose(panel._theory.y, expected.theory, rtol=1e-6)


def test_training_is_held_against_the_best_constant_and_forgotten_with_the_network(laboratory: Any) -> None:
    panel = laboratory.right
    assert hidden(panel._curve_keyed.children[1].children[0])
    panel._button.click()
    panel.wait(LIMIT)
    assert not hidden(panel._curve_keyed.children[1].children[0])
    assert panel.error == ""
    assert panel.training.configuration == panel.configuration
    np.testing.assert_allclose(panel._loss.y, panel.training.ratio, rtol=1e-6)
    assert panel._best.y.tolist() == [1.0, 1.0]
    assert f"loss/var(y) is {float(panel.training.ratio[-1]):.3f}" in panel._training_words.value
    panel.configuration = {"depth": 3, "width": 16}
    panel.wait(LIMIT)
    assert panel.training is None
    assert len(panel._loss.y) == 0


def test_a_training_that_explodes_leaves_the_chart_where_the_others_would_be(laboratory: Any) -> None:
    panel = laboratory.left
    panel.configuration = {"activation": "relu", "initialisation": "kaiming", "gain": 4.0, "learning_rate": 1.0}
    panel.wait(LIMIT)
    panel._button.click()
    panel.wait(LIMIT)
    finite = panel.training.ratio[panel.training.ratio.isfinite()]
    assert finite.max() > 1e3
    assert panel._curve.scales["y"].max <= 5
    assert panel._loss.y.max() <= 50
    assert "leaving" in panel._curve.figure.title
    assert "exploded" in panel._training_words.value
    panel.configuration = {"depth": 3, "width": 16}
    panel.wait(LIMIT)
    assert panel._curve.figure.title == "test loss / var(y)"


def test_a_training_grows_on_the_screen_and_stop_keeps_what_was_done(
    laboratory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = laboratory.left
    assert (len(panel._loss.y), panel._training_words.value) == (0, "")
    seen: list[int] = []
    show = panel._show_training

    def stop_after_three() -> None:
        show()
        seen.append(len(panel._loss.y))
        if len(seen) == 4:  # the first shows none
            panel._stop()

    monkeypatch.setattr(panel, "_show_training", stop_after_three)
    monkeypatch.setattr("dlwidgets.widgets.gradient_flow_laboratory.PROGRESS_INTERVAL", 0.0)
    panel.train()
    panel.wait(LIMIT)
    done = int(panel.training.step[-1])
    assert seen[:4] == sorted(set(seen[:4]))
    assert 0 < done < 400
    assert panel._training_words.value.startswith(f"After {done} of 400 steps loss/var(y) is")
    np.testing.assert_allclose(panel._loss.y, panel.training.ratio, rtol=1e-6)
    assert panel.error == ""


def test_the_first_two_networks_differ_in_one_thing_and_both_experiments_have_a_heading() -> None:
    laboratory = GradientFlowMeter.laboratory()
    left, right = (vars(panel.configuration) for panel in (laboratory.left, laboratory.right))
    assert {name for name in left if left[name] != right[name]} == {"activation"}
    headings = [child.value for child in laboratory.children if "<h3>" in getattr(child, "value", "")]
    assert headings == [
        "<h3>Two networks, before and while they train</h3>",
        "<h3>A plain filter beside a residual one</h3>",
    ]
    laboratory.close()


def test_both_profiles_are_drawn_on_one_axis(laboratory: Any) -> None:
    left, right = laboratory.left, laboratory.right
    left.configuration = {"depth": 20, "width": 16}
    laboratory.wait(LIMIT)
    limits = [(panel._chart.scales["y"].min, panel._chart.scales["y"].max) for panel in (left, right)]
    assert limits[0] == limits[1]
    assert limits[0][0] <= float(left.result.median.min())
    assert limits[0][1] >= float(right.result.median.max())


@pytest.mark.parametrize(
    ("configuration", "said"),
    [
        ({"depth": 40, "gain": 0.5, "width": 16}, "falls to exactly 0"),
        ({"depth": 40, "gain": 30.0, "width": 16, "activation": "relu"}, "grows beyond what float32 can hold"),
    ],
)
def test_a_profile_beyond_float32_says_so(configuration: dict, said: str) -> None:
    laboratory = GradientFlowMeter.laboratory(configuration, {"depth": 2, "width": 16})
    laboratory.wait(LIMIT)
    panel = laboratory.left
    assert said in panel._words.value
    assert panel.error == ""
    rims, scale = panel._rims, panel._chart.scales["y"]
    assert rims.zeros.x.tolist() == torch.nonzero(panel.result.median == 0).flatten().tolist()
    assert rims.lost.x.tolist() == torch.nonzero(~panel.result.median.isfinite()).flatten().tolist()
    assert rims.shown == ("0" in said, "beyond" in said)
    assert rims.shown == tuple(not hidden(label) for label in panel._profile_keyed.children[1].children[3:])
    ticks = panel._chart.ruler.tick_values
    assert all(y == scale.min < ticks[0] for y in rims.zeros.y)
    assert all(y == scale.max > ticks[-1] for y in rims.lost.y)
    laboratory.close()


def test_the_plain_filter_is_the_residual_one_and_a_delta(laboratory: Any) -> None:
    filters = laboratory.filters
    filters.closeness = 0.3
    assert filters._slider.value == 0.3
    filters._button.click()
    filters.wait(LIMIT)
    assert filters.error == ""
    delta = np.zeros((6, 6))
    delta[1, 1] = delta[4, 4] = 1.0
    np.testing.assert_allclose(filters._pictures["difference"].image, delta, atol=1e-6)
    np.testing.assert_allclose(filters._pictures["plain"].image[:3, 3:], filters.result.plain[0, 1], atol=1e-6)
    assert filters._pictures["plain"].boxes[:, :4].tolist() == [[0, 0, 6, 6], [0, 0, 3, 6], [0, 0, 6, 3]]
    assert filters._readouts["plain"].rows[4] == "output 1\nrow 1"
    assert filters._readouts["plain"].columns[5] == "input 1\ncolumn 2"


@pytest.mark.parametrize(("num_out", "num_in"), [(1, 1), (2, 2), (3, 2), (4, 5)])
def test_each_border_between_kernels_has_one_outline(num_out: int, num_in: int) -> None:
    filters: Any = SimpleNamespace(plain=torch.zeros(num_out, num_in, 3, 3))
    boxes = tile_boxes(filters)
    assert boxes[0] == (0, 0, 3 * num_out, 3 * num_in)
    for start, stop, count in ((0, 2, num_out), (1, 3, num_in)):
        inner = [box[at] for box in boxes for at in (start, stop) if 0 < box[at] < 3 * count]
        assert sorted(inner) == [3 * border for border in range(1, count)]


@pytest.mark.parametrize(
    ("configuration", "error", "said"),
    [
        (3, TypeError, "must be a Configuration or a dict of its fields, got int"),
        ({"colour": 3}, ValueError, "no field 'colour'; its fields are depth, width"),
        ({"depth": 0}, ValueError, "depth must be at least 1, got 0"),
        ({"activation": "step"}, ValueError, "activation must be one of sigmoid, tanh, relu, gelu"),
    ],
)
def test_bad_configurations_are_refused(configuration: Any, error: type, said: str, num_models: Any) -> None:
    before = num_models()
    with pytest.raises(error, match=said):
        GradientFlowMeter.laboratory(configuration)
    assert num_models() == before
