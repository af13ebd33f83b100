"""The meter beside other hooks at optimizers' steps, and with optimizers that are not alone or call each other."""

import itertools
import threading
from typing import Any

import pytest
import torch
from test_gradient_flow_interference import global_hooks
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from dlwidgets.compute.gradient_flow import watch
from dlwidgets.compute.gradient_flow.rhythm import ALWAYS


def net(*sizes: int) -> nn.Sequential:
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def train(model: nn.Module, optimizer: torch.optim.Optimizer, data: Tensor) -> None:
    optimizer.zero_grad()
    model(data).pow(2).sum().backward()
    optimizer.step()


class Projected(torch.optim.SGD):
    """Keeps the weights in a box after each step."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = super().step(closure)
        for group in self.param_groups:
            for p in group["params"]:
                p.clamp_(-0.1, 0.1)
        return loss


@pytest.mark.parametrize("options", [{}, {"every": 2}, {"every": 1}])
def test_two_models_are_watched_side_by_side(options: Any) -> None:
    data = torch.randn(20, 3, 4)
    alone = [net(4, 5, 1), net(4, 6, 1)]
    together = [net(4, 5, 1), net(4, 6, 1)]
    for model in alone:
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        for x in data:
            train(model, optimizer, x)
    first, second = (torch.optim.SGD(model.parameters(), 0.1) for model in together)
    with watch(together[0], first, **options) as a, watch(together[1], second, **options) as b:
        for x in data:
            train(together[0], first, x)
            train(together[1], second, x)
    for one, other in zip(alone, together, strict=True):
        for p, q in zip(one.parameters(), other.parameters(), strict=True):
            assert torch.equal(p, q)
    expected = sorted(ALWAYS & set(range(20))) if not options else list(range(0, 20, options["every"]))
    assert a.failure is b.failure is None
    assert set(expected) <= set(a.result().steps.tolist())
    assert set(expected) <= set(b.result().steps.tolist())
    assert global_hooks() == []


@pytest.mark.parametrize("register", [register_optimizer_step_post_hook, register_optimizer_step_pre_hook])
def test_somebody_elses_global_hooks_run_on(register: Any) -> None:
    model, calls = net(4, 5, 1), []
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with watch(model, optimizer, every=2) as flow:
        handle = register(lambda *_: calls.append(1))
        for _ in range(5):
            train(model, optimizer, torch.randn(3, 4))
    handle.remove()
    assert len(calls) == 5
    assert flow.result().steps.tolist() == [0, 2, 4]


@pytest.mark.parametrize("register", [register_optimizer_step_post_hook, register_optimizer_step_pre_hook])
@pytest.mark.parametrize("first", [True, False])
def test_attached_and_detached_inside_the_hooks_of_a_step(register: Any, first: bool) -> None:
    """Whatever other hooks there are, before ours or after."""
    model = net(4, 5, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    flow, step, others = watch(model, optimizer, every=1), 0, []

    def callback(*_: Any) -> None:
        if step == 2:
            flow.attach()
        if step == 5:
            flow.detach()

    handle = register(callback)
    others = [register(lambda *_: None) for _ in range(2)] if first else []
    for step in range(8):  # noqa: B007 (the callback reads it)
        train(model, optimizer, torch.randn(3, 4))
    for one in (handle, *others):
        one.remove()
    assert flow.failure is None
    assert len(flow.result().steps) in (2, 3)
    assert global_hooks() == []


@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("options", [{}, {"every": 1}, {"every": 3}])
def test_a_step_that_calls_the_inherited_one_is_one_step(given: bool, options: Any) -> None:
    model = net(4, 5, 1)
    torch.optim.SGD([nn.Parameter(torch.ones(1))], 0.1)  # from now on plain SGD runs hooks as well
    optimizer = Projected(model.parameters(), 0.1)
    with watch(model, optimizer if given else None, **options) as flow:
        for _ in range(10):
            before = model[0].weight.detach().clone()
            train(model, optimizer, torch.randn(3, 4))
            change = (model[0].weight.detach() - before).norm() / before.norm()
            if flow.num_steps in (1, 4):
                assert float(flow.result().update_ratio[-1, 0]) == pytest.approx(float(change), rel=1e-5)
    assert flow.failure is None
    assert flow.num_steps == 10
    steps = flow.result().steps.tolist()
    assert steps == ([0, 1, 3, 7] if not options else list(range(0, 10, options["every"])))


def test_an_optimizer_that_steps_after_the_first_one_keeps_its_gradients_in_their_row() -> None:
    """The step ends with the first optimizer's, and the second one's gradients are those of that step."""
    model = net(4, 5, 1)
    first, second = torch.optim.SGD(model[0].parameters(), 0.1), torch.optim.SGD(model[2].parameters(), 0.1)
    expected = []
    with watch(model, [first, second], every=1) as flow:
        for _ in range(4):
            model.zero_grad()
            model(torch.randn(3, 4)).pow(2).sum().backward()
            expected.append(float(model[2].weight.grad.norm()))
            first.step()
            second.step()
    g = flow.result()
    assert g.steps.tolist() == [0, 1, 2, 3]
    found = g.parameter_gradient_norm[:, g.parameters.index("2.weight")]
    assert found.tolist() == pytest.approx(expected, rel=1e-6)


def test_of_a_second_optimizers_closure_the_last_evaluation_counts_too() -> None:
    model = net(4, 5, 1)
    first = torch.optim.SGD(model[0].parameters(), 0.0)
    second = torch.optim.LBFGS(model[2].parameters(), max_iter=4)
    x, norms, kept = torch.randn(3, 4), [], []

    def closure() -> Tensor:
        model.zero_grad()
        out = model(x)
        out.retain_grad()
        loss = out.pow(2).sum()
        loss.backward()
        norms.append(float(model[2].weight.grad.norm()))
        kept.append(float(out.grad.norm()))
        return loss

    with watch(model, [first, second], every=1) as flow:
        second.step(closure)
        first.step()
    g = flow.result()
    assert len(norms) > 2
    assert float(g.gradient_norm[0, -1]) == pytest.approx(kept[-1], rel=1e-6)
    assert float(g.parameter_gradient_norm[0, g.parameters.index("2.weight")]) == pytest.approx(norms[-1], rel=1e-6)


def test_stopped_from_another_thread_no_hook_stays() -> None:
    model = net(4, 5, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    for _ in range(20):
        flow = watch(model, optimizer, every=2)
        flow.attach()
        stopper = threading.Thread(target=flow.detach)
        for i in range(20):
            if i == 5:
                stopper.start()
            train(model, optimizer, torch.randn(3, 4))
        stopper.join()
        train(model, optimizer, torch.randn(3, 4))
        assert global_hooks() == []


def test_three_threads_train_a_model_each() -> None:
    """torch walks over its table of hooks in all of them."""
    problems: list[BaseException] = []
    counts: list[int] = []

    def run(seed: int) -> None:
        try:
            for _ in range(5):
                model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1))
                optimizer = torch.optim.SGD(model.parameters(), 0.01)
                with watch(model, optimizer, every=2) as flow:
                    for _ in range(50):
                        train(model, optimizer, torch.ones(3, 4))
                counts.append(flow.num_steps)
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert counts == [50] * 15
    assert global_hooks() == []


@pytest.mark.parametrize("register", [register_optimizer_step_post_hook, register_optimizer_step_pre_hook])
@pytest.mark.parametrize("attach", [True, False])
def test_a_hook_that_attaches_or_detaches_and_then_runs_the_model(register: Any, attach: bool) -> None:
    model = net(4, 5, 1)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    flow, step = watch(model, optimizer, every=1), 0
    if not attach:
        flow.attach()

    def callback(*_: Any) -> None:
        if step == 3:
            if attach:
                flow.attach()
            else:
                flow.detach()
            model(torch.randn(3, 4))

    handles = [register(callback), register(lambda *_: None)]
    for step in range(6):  # noqa: B007 (the callback reads it)
        train(model, optimizer, torch.randn(3, 4))
    for handle in handles:
        handle.remove()
    flow.detach()
    model(torch.randn(3, 4))
    assert flow.failure is None
    assert global_hooks() == []


class Both(torch.optim.Optimizer):
    """Steps two others, as optimizers do that treat matrices apart."""

    def __init__(self, first: torch.optim.Optimizer, second: torch.optim.Optimizer) -> None:
        super().__init__([*first.param_groups[0]["params"], *second.param_groups[0]["params"]], {})
        self.parts = first, second

    def step(self, closure: Any = None) -> None:
        for part in self.parts:
            part.step()


@pytest.mark.parametrize("options", [{}, {"every": 1}, {"every": 3}])
@pytest.mark.parametrize("wrapped", [True, False])
def test_two_optimizers_that_are_found_end_one_step(options: Any, wrapped: bool) -> None:
    model = net(4, 5, 1)
    first, second = torch.optim.SGD(model[0].parameters(), 0.1), torch.optim.SGD(model[2].parameters(), 0.1)
    both = Both(first, second) if wrapped else None
    with watch(model, **options) as flow:
        for _ in range(150):
            model.zero_grad()
            model(torch.randn(3, 4)).pow(2).sum().backward()
            if both is None:
                first.step()
                second.step()
            else:
                both.step()
    assert flow.num_steps == 150
    assert flow.failure is None
