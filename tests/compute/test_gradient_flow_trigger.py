"""Counting goes on: after Ctrl-C inside the meter's own functions, and with an optimizer made while another lives."""

import os
import signal
import warnings
from typing import Any

import pytest
import torch
from test_gradient_flow_interference import global_hooks
from torch import nn

from dlwidgets.compute import observe
from dlwidgets.compute.gradient_flow import trigger, watch
from dlwidgets.compute.gradient_flow.activations import Activations
from dlwidgets.compute.gradient_flow.history import History
from dlwidgets.compute.gradient_flow.passes import Passes
from dlwidgets.compute.gradient_flow.rhythm import Rhythm
from dlwidgets.compute.gradient_flow.sample import Sample
from dlwidgets.compute.gradient_flow.sites import Sites
from dlwidgets.compute.gradient_flow.steps import Steps
from dlwidgets.compute.gradient_flow.trigger import Trigger
from dlwidgets.compute.gradient_flow.weights import Weights


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1))


def interrupt(monkeypatch: pytest.MonkeyPatch, where: Any, name: str, at: int) -> list[int]:
    """The ``at``-th call of a function of the meter is interrupted at its beginning; the list holds its number then."""
    original, calls, interrupted = getattr(where, name), [0], []

    def once(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == at:
            interrupted.append(at)
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    monkeypatch.setattr(where, name, once)
    return interrupted


def tensor_hooks(model: nn.Module) -> int:
    return sum(len(p._backward_hooks or ()) for p in model.parameters())


PLACES = [
    (Activations, "add", 5),
    (Activations, "flush", 3),
    (Passes, "before", 2),
    (Passes, "after", 7),
    (Passes, "open", 3),
    (Passes, "close", 2),
    (Passes, "leave", 1),
    (Sample, "arrived", 4),
    (Sample, "finish", 2),
    (Sites, "refresh", 3),
    (Weights, "before", 2),
    (Weights, "after", 2),
    (Weights, "release", 1),
    (History, "write", 3),
    (Rhythm, "due", 3),
    (Rhythm, "begin_sample", 3),
    (Rhythm, "end_sample", 2),
    (Steps, "_open", 3),
    (Steps, "_next", 3),
    (Steps, "_wait", 2),
    (Steps, "_detach", 2),
    (Steps, "_grade", 2),
    (Steps, "_backward_done", 2),
    (Steps, "_forward_begins", 3),
    (Trigger, "disarm", 2),
    (Trigger, "after_steps", 1),
    (Trigger, "before_forwards", 1),
    (Trigger, "_listen", 1),
    (Trigger, "_choose", 1),
    (Trigger, "adapt", 4),
    (Trigger, "entered", 2),
    (observe, "before_forward", 2),
    (observe, "after_forward_with_keywords", 2),
    (observe, "before_step", 2),
    (observe, "after_step", 2),
]


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("options", [{"budget": 1e-9}, {"every": 20}], ids=["budget", "every"])
@pytest.mark.parametrize(("where", "name", "at"), PLACES, ids=[f"{name}-{at}" for _, name, at in PLACES])
def test_an_interrupt_inside_the_meter_reaches_the_user_and_counting_goes_on(
    where: Any, name: str, at: int, options: dict[str, Any], given: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, finished, seen = net(), 0, 0
    optimizer = torch.optim.SGD(model.parameters(), 0.1) if given else None
    interrupted: list[int] = []
    with watch(model, optimizer, **options) as flow:
        interrupted = interrupt(monkeypatch, where, name, at)
        for _ in range(100):
            model.zero_grad()
            try:
                model(torch.randn(3, 4)).pow(2).mean().backward()
                if optimizer is not None:
                    optimizer.step()
                else:
                    for p in model.parameters():
                        p.data -= 0.1 * p.grad
            except KeyboardInterrupt:
                seen += 1
                continue
            finished += 1
            if finished == 90:
                break
        monkeypatch.undo()
    assert seen == len(interrupted)
    assert flow.failure is None
    assert abs(flow.num_steps - finished) <= seen  # the one under way may count or not
    g = flow.result()
    assert len(g.steps) == len(g.gradient_norm) == len(g.update_ratio)
    assert len(set(g.steps.tolist())) == len(g.steps)
    assert not g.gradient_norm[1:].isnan().all(1).any()
    assert global_hooks() == []
    assert tensor_hooks(model) == 0


@pytest.mark.parametrize(
    ("attaching", "where", "name"),
    [
        (True, Steps, "_open"),
        (True, Steps, "_detach"),
        (True, Passes, "open"),
        (True, Trigger, "disarm"),
        (True, observe, "before_step"),
        (False, Steps, "_last"),
        (False, Steps, "_detach"),
        (False, Passes, "release"),
        (False, Trigger, "disarm"),
        (False, Sample, "finish"),
    ],
)
def test_an_interrupt_while_attaching_or_detaching_leaves_nothing(
    attaching: bool, where: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, before = net(), list(warnings.filters)
    flow = watch(model, every=1)
    if not attaching:
        flow.attach()
        model(torch.randn(3, 4)).sum().backward()
    interrupted = interrupt(monkeypatch, where, name, 1)
    with pytest.raises(KeyboardInterrupt):
        (flow.attach if attaching else flow.detach)()
    monkeypatch.undo()
    assert interrupted == [1]
    assert not flow.attached
    assert global_hooks() == []
    assert tensor_hooks(model) == 0
    assert list(warnings.filters) == before


def press_within(done: list[str]) -> None:
    with observe.uninterrupted():
        os.kill(os.getpid(), signal.SIGINT)
        done.append("whole")


def test_ctrl_c_waits_for_the_end_of_what_must_be_whole() -> None:
    done: list[str] = []
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            press_within(done)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, previous)
    assert done == ["whole"]


@pytest.mark.parametrize("length", [2, 5])
@pytest.mark.parametrize("options", [{"every": 1}, {"every": 7}, {"budget": 1e-9}], ids=["each", "seventh", "budget"])
def test_an_optimizer_that_is_made_while_the_old_one_lives_loses_no_step(options: dict[str, Any], length: int) -> None:
    model, alive = net(), []
    with watch(model, **options) as flow:
        for step in range(90):
            if step % length == 0:
                alive.append(torch.optim.SGD(model.parameters(), 0.1))
            model.zero_grad()
            model(torch.randn(3, 4)).pow(2).mean().backward()
            alive[-1].step()
    assert flow.num_steps == 90
    assert flow.result().steps.tolist() == sorted(set(flow.result().steps.tolist()))


def test_three_optimizers_that_take_turns_end_one_step() -> None:
    model = nn.Sequential(*net(), nn.Linear(1, 1))
    optimizers = [torch.optim.SGD(model[at].parameters(), 0.1) for at in (0, 2, 3)]
    with watch(model) as flow:
        for _ in range(90):
            model.zero_grad()
            model(torch.randn(3, 4)).pow(2).mean().backward()
            for optimizer in optimizers:
                optimizer.step()
    assert flow.num_steps == 90


def test_sharpness_aware_steps_by_hand_count_both_their_passes() -> None:
    """As defined: without any optimizer a step ends with the next training forward after a backward."""
    model = net()
    with watch(model, budget=1e-9) as flow:
        for _ in range(50):
            x, kept = torch.randn(3, 4), [p.detach().clone() for p in model.parameters()]
            for first in (True, False):
                model.zero_grad()
                model(x).pow(2).mean().backward()
                for p, old in zip(model.parameters(), kept, strict=True):
                    p.data = old + 0.05 * p.grad if first else old - 0.1 * p.grad
    assert flow.num_steps == 100


@pytest.mark.parametrize("inside", ["attach", "detach"])
def test_no_filter_of_warnings_stays_where_catch_warnings_comes_between(inside: str) -> None:
    before, flow = list(warnings.filters), watch(net(), every=1)
    if inside == "attach":
        with warnings.catch_warnings():
            flow.attach()
        flow.detach()
    else:
        flow.attach()
        with warnings.catch_warnings():
            flow.detach()
            assert list(warnings.filters) == before
    assert list(warnings.filters) == before


def test_where_training_stops_for_good_nothing_is_hooked_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trigger, "REST", float("inf"))
    model, listened = net(), []
    with watch(model, budget=1e-9) as flow:
        for _ in range(70):
            model.zero_grad()
            model(torch.randn(3, 4)).sum().backward()
            for p in model.parameters():
                p.data -= 0.01 * p.grad
        original = Trigger._listen
        monkeypatch.setattr(Trigger, "_listen", lambda self: (listened.append(1), original(self))[1])
        for _ in range(50):
            model(torch.randn(3, 4))
    assert flow.num_steps == 70
    assert len(listened) <= 1
