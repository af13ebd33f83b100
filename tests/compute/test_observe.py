"""Everything that observes can be taken back, and leaves models, copies and compiled functions as they were."""

import copy
import warnings

import pytest
import torch
from test_gradient_flow_interference import global_hooks
from torch import Tensor, nn

from dlwidgets.compute import observe


def test_mode_restores_each_module_by_itself() -> None:
    model = nn.Sequential(nn.Dropout(), nn.Sequential(nn.BatchNorm1d(3)))
    model[0].eval()
    before = [m.training for m in model.modules()]
    with observe.mode(model, training=False):
        assert not any(m.training for m in model.modules())
    assert [m.training for m in model.modules()] == before
    with pytest.raises(RuntimeError, match="mat1"), observe.mode(model, training=True):
        nn.Linear(2, 2)(torch.ones(1, 3))
    assert [m.training for m in model.modules()] == before


def test_forwards_sees_every_module_and_goes_away_even_after_an_error() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    seen: list[str] = []
    with observe.forwards(
        lambda module, args: seen.append("before " + type(module).__name__),
        lambda module, args, output: seen.append("after " + type(module).__name__),
    ):
        model(torch.ones(1, 2))
        twin = copy.deepcopy(model)
    assert seen == [
        "before Sequential",
        "before Linear",
        "after Linear",
        "before ReLU",
        "after ReLU",
        "after Sequential",
    ]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in [*model.modules(), *twin.modules()])
    wrong = torch.ones(1, 3)
    with pytest.raises(RuntimeError, match="mat1"), observe.forwards(before=lambda module, args: None):
        model(wrong)
    assert global_hooks() == []


def test_a_failed_forward_is_seen_with_no_output() -> None:
    seen: list[object] = []
    handle = observe.after_forward(lambda module, args, output: seen.append(output))
    with pytest.raises(RuntimeError, match="mat1"):
        nn.Linear(2, 2)(torch.ones(1, 3))
    handle.remove()
    handle.remove()
    assert seen == [None]


def test_gradients_are_seen_at_nodes_of_leaves_and_of_results() -> None:
    leaf = torch.ones(3, requires_grad=True)
    out = leaf * 2
    seen: list[Tensor] = []
    node = observe.graph_node(leaf)
    handles = [observe.on_gradient(n, lambda g: seen.append(g[0])) for n in (observe.graph_node(out), node)]
    out.sum().backward(retain_graph=True)
    assert [g.tolist() for g in seen] == [[1.0] * 3, [2.0] * 3]
    observe.remove(handles)
    out.sum().backward()
    assert len(seen) == 2
    assert leaf._backward_hooks is None
    assert out._backward_hooks is None


def test_the_end_of_a_backward_pass() -> None:
    leaf = torch.ones(3, requires_grad=True)
    out = leaf * 2
    seen: list[float] = []

    def arrived(_: object) -> None:
        observe.at_end_of_backward(lambda: seen.append(float(leaf.grad.sum())))  # type: ignore[union-attr]

    observe.on_gradient(observe.graph_node(out), arrived)
    out.sum().backward()
    assert seen == [6.0]


def test_optimizer_steps() -> None:
    p = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([p], 0.1)
    seen: list[str] = []
    handles = [
        observe.before_step(lambda *a: seen.append("before")),
        observe.after_step(lambda *a: seen.append("after")),
    ]
    optimizer.step()
    observe.remove(handles)
    optimizer.step()
    assert seen == ["before", "after"]


def test_compiled_functions_run_eagerly_in_between_and_compiled_again_afterwards() -> None:
    traced: list[str] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> object:
        traced.append("compiled")
        return graph.forward

    @torch.compile(backend=backend)
    def double(x: Tensor) -> Tensor:
        return x * 2

    first, second = observe.Eagerly(), observe.Eagerly()
    first.start()
    second.start()
    second.start()
    first.stop()
    assert double(torch.ones(2)).tolist() == [2.0, 2.0]
    assert traced == []
    second.stop()
    second.stop()
    assert double(torch.ones(2)).tolist() == [2.0, 2.0]
    assert traced == ["compiled"]
    torch._dynamo.reset()


def test_quiet_takes_only_its_own_filter_back() -> None:
    with warnings.catch_warnings():
        before = list(warnings.filters)
        quiet = observe.Quiet()
        warnings.filterwarnings("error", "mine")
        quiet.remove()
        quiet.remove()
        assert list(warnings.filters)[1:] == before
        with pytest.raises(UserWarning, match="mine"):
            warnings.warn("mine", stacklevel=1)


def test_isolated_keeps_modes_from_seeing_what_is_computed() -> None:
    seen: list[object] = []

    class Spy(torch.overrides.TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            seen.append(function)
            return function(*args, **(kwargs or {}))

    assert not observe.modes_active()
    with Spy():
        assert observe.modes_active()
        with observe.isolated():
            torch.ones(2) + 1
        assert seen == []
        torch.add(torch.zeros(()), 1)
    assert len(seen) > 0
