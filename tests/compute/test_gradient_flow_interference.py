"""With and without a meter, training is bitwise the same, and nothing is left behind."""

import contextlib
from collections.abc import Iterator
from typing import Any

import gradient_flow_trainings as trainings
import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules import module as module_state
from torch.optim import optimizer as optimizer_state

from dlwidgets.compute.gradient_flow import Meter, watch


def global_hooks() -> list[Any]:
    """Every hook that torch keeps globally."""
    tables = [
        value for name, value in vars(module_state).items() if name.startswith("_global") and isinstance(value, dict)
    ]
    tables += [optimizer_state._global_optimizer_pre_hooks, optimizer_state._global_optimizer_post_hooks]
    return [hook for table in tables for hook in table.values()]


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    yield
    assert global_hooks() == []
    torch._dynamo.reset()


def watched(meters: list[Meter], **options: Any) -> trainings.Watch:
    @contextlib.contextmanager
    def watching(model: nn.Module, optimizer: Any) -> Iterator[Meter]:
        with watch(model, optimizer, **options) as flow:
            meters.append(flow)
            yield flow

    return watching


@pytest.mark.parametrize("options", [{"every": 1}, {"budget": 0.01}], ids=["each", "budget"])
@pytest.mark.parametrize("name", trainings.TRAININGS)
def test_training_is_bitwise_the_same(name: str, options: dict[str, Any]) -> None:
    run = trainings.TRAININGS[name]
    bare = trainings.outcome(run, trainings.no_watch)
    torch._dynamo.reset()
    meters: list[Meter] = []
    seen = trainings.outcome(run, watched(meters, **options))
    assert meters[0].failure is None
    assert seen.bits.keys() == bare.bits.keys()
    assert [name for name in bare.bits if seen.bits[name] != bare.bits[name]] == []
    assert [name for name in bare.plain if seen.plain[name] != bare.plain[name]] == []
    g = meters[0].result()
    assert len(g.steps) > 0
    assert len(g.positions) > 0
    assert g.gradient_norm.shape == (len(g.steps), len(g.positions))
    assert g.update_ratio.shape == (len(g.steps), len(g.parameters))


class DoublesInPlace(torch.autograd.Function):
    """The identity; its backward pass doubles the gradient that it is given, in place, where it is told to."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, doubles: bool) -> Tensor:
        ctx.doubles = doubles
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.mul_(2) if ctx.doubles else gradient, None


class Doubles(nn.Module):
    doubles = False

    def forward(self, x: Tensor) -> Tensor:
        return DoublesInPlace.apply(x, self.doubles)


def norms_where_gradients_are_doubled(since: int, num_steps: int) -> tuple[Tensor, list[float]]:
    """What the meter says of gradients that are changed right after they arrived, and the truth."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), Doubles(), nn.Linear(4, 4)).double()
    x = torch.randn(3, 4).double()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    truth = []
    with watch(model, optimizer, every=1) as flow:
        for step in range(num_steps):
            model[1].doubles = step >= since
            optimizer.zero_grad()
            output = model(x)
            truth.append((2 * output.detach() @ model[2].weight.detach()).norm().item())
            output.pow(2).sum().backward()
            optimizer.step()
    g = flow.result()
    at = next(i for i, p in enumerate(g.positions) if p.module == "1")
    return g.gradient_norm[:, at], truth


@pytest.mark.parametrize("since", [0, 2])
def test_a_gradient_counts_as_it_arrives_whatever_is_done_to_it_afterwards(since):
    found, truth = norms_where_gradients_are_doubled(since, num_steps=5)
    assert found.tolist() == pytest.approx(truth, rel=1e-12)
