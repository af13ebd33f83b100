"""Many forwards in one step: what the meter holds meanwhile, and that the numbers stay right when it lets go."""

import weakref

import pytest
import torch
from torch import Tensor, nn

from dlwidgets.compute.gradient_flow import watch


class Noted(torch.autograd.Function):
    """The identity, with an object that lives as long as the graph that it is part of."""

    alive: "weakref.WeakSet[Token]"

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.token = Token()
        Noted.alive.add(ctx.token)
        return x.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return gradient


class Token:
    """Something that can be seen to be gone."""


class Repeated(nn.Module):
    """One layer, several times in a forward: its weight is shared by positions."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times, self.layer, self.head = times, nn.Linear(4, 4), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.times):
            x = torch.tanh(self.layer(x))
        return self.head(Noted.apply(x))


@pytest.fixture(autouse=True)
def nothing_noted():
    Noted.alive = weakref.WeakSet()
    torch.manual_seed(0)


@pytest.mark.parametrize("times", [1, 3])
def test_forwards_without_a_backward_pass_do_not_pile_up(times):
    model = Repeated(times).double()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with watch(model, optimizer, every=1) as flow:
        for step in range(2):
            for _ in range(60):
                model(torch.randn(5, 4).double())
                assert len(Noted.alive) <= 6, step
            model(torch.randn(5, 4).double()).sum().backward()
            optimizer.step()
    assert flow.result().steps.tolist() == [0, 1]


def shares_by_substitution(model: Repeated, inputs: list[Tensor]) -> Tensor:
    """|g_call| of the shared layer's weight, in squares over the forwards: every use has a copy of its own."""
    copies = [[model.layer.weight.detach().clone().requires_grad_() for _ in range(model.times)] for _ in inputs]
    total = torch.zeros((), dtype=torch.float64)
    for x, weights in zip(inputs, copies, strict=True):
        for weight in weights:
            x = torch.tanh(nn.functional.linear(x, weight, model.layer.bias))
        total = total + model.head(x).pow(2).sum()
    total.backward()
    return torch.tensor([[weight.grad.norm() for weight in weights] for weights in copies]).double().norm(dim=0)


def test_a_loss_over_many_forwards_is_still_split_by_call():
    model = Repeated(3).double()
    inputs = [torch.randn(5, 4).double() for _ in range(50)]
    expected = shares_by_substitution(model, inputs)
    model.zero_grad()
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    with watch(model, optimizer, every=1) as flow:
        for _ in range(2):
            optimizer.zero_grad()
            sum(model(x).pow(2).sum() for x in inputs).backward()
            optimizer.step()
    g = flow.result()
    shared = {entry.parameter: entry for entry in g.shared}["layer.weight"]
    for row in shared.gradient_norm:
        assert torch.allclose(row, expected, rtol=1e-9)


class Grows(nn.Module):
    """Its layer runs once, and from some call on twice."""

    def __init__(self, since: int) -> None:
        super().__init__()
        self.since, self.calls, self.layer = since, 0, nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.layer(self.layer(x)) if self.calls > self.since else self.layer(x)


@pytest.mark.parametrize("since", [1, 4, 30])
def test_what_becomes_shared_in_the_middle_of_a_step_is_split_from_the_next_on(since):
    model = Grows(since).double()
    optimizer = torch.optim.SGD(model.parameters(), 0.0)
    inputs = [torch.randn(2, 3).double() for _ in range(since + 1)]
    with watch(model, optimizer, every=1) as flow:
        for _ in range(2):
            optimizer.zero_grad()
            sum(model(x).pow(2).sum() for x in inputs).backward()
            optimizer.step()
    uses = [[model.layer.weight.detach().clone().requires_grad_() for _ in range(2)] for _ in inputs]
    total = torch.zeros((), dtype=torch.float64)
    for x, weights in zip(inputs, uses, strict=True):
        for weight in weights:
            x = nn.functional.linear(x, weight, model.layer.bias)
        total = total + x.pow(2).sum()
    total.backward()
    expected = torch.stack([torch.stack([weight.grad.norm() for weight in weights]) for weights in uses]).norm(dim=0)
    shared = {entry.parameter: entry for entry in flow.result().shared}["layer.weight"]
    assert shared.gradient_norm[0].isnan().all()
    assert torch.allclose(shared.gradient_norm[1], expected, rtol=1e-9)


def test_activations_of_many_forwards_are_pooled():
    model = Repeated(2).double()
    seen: list[Tensor] = []
    model.layer.register_forward_hook(lambda module, args, output: seen.append(output.detach().clone()))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with watch(model, optimizer, every=1) as flow:
        for _ in range(150):
            loss = model(torch.randn(3, 4).double()).sum()
        loss.backward()
        optimizer.step()
    g = flow.result()
    for call in (0, 1):
        at = next(i for i, p in enumerate(g.positions) if (p.module, p.call) == ("layer", call))
        values = torch.stack(seen[call::2])
        assert g.activation_mean[0, at].item() == pytest.approx(values.mean().item(), abs=1e-12)
        assert g.activation_std[0, at].item() == pytest.approx(values.std(correction=0).item(), rel=1e-12)


class Squares(nn.Module):
    """Uses one weight in each call once or twice."""

    def __init__(self, twice: bool) -> None:
        super().__init__()
        self.twice, self.weight = twice, nn.Parameter(torch.randn(3, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = x @ self.weight
        return x @ self.weight if self.twice else x


@pytest.mark.parametrize("twice", [False, True])
def test_forwards_add_in_squares_whether_or_not_their_losses_are_summed_first(twice):
    found = []
    for summed in (False, True):
        torch.manual_seed(0)
        inner = Squares(twice)
        model = nn.Sequential(inner, nn.Tanh(), inner).double()
        optimizer = torch.optim.SGD(model.parameters(), 0.0)
        inputs = torch.randn(3, 5, 3).double()
        with watch(model, optimizer, every=1) as flow:
            for _ in range(2):
                optimizer.zero_grad()
                losses = [model(x).pow(2).sum() for x in inputs]
                if summed:
                    torch.stack(losses).sum().backward()
                else:
                    for loss in losses:
                        loss.backward()
                optimizer.step()
        found.append(flow.result().shared[0].gradient_norm[1])
    assert torch.allclose(*found, rtol=1e-9)


@pytest.mark.parametrize("calls", [(1, 2), (2, 1), (1, 3, 2)])
def test_a_weight_that_autocast_casts_once_for_several_forwards(calls):
    found = []
    for cached in (False, True):
        torch.manual_seed(0)
        model = Repeated(1)
        optimizer = torch.optim.SGD(model.parameters(), 0.0)
        inputs = torch.randn(len(calls), 5, 4)
        with watch(model, optimizer, every=1) as flow:
            for _ in range(2):
                optimizer.zero_grad()
                total = torch.zeros(())
                with torch.autocast("cpu", torch.bfloat16, cache_enabled=cached):
                    for x, model.times in zip(inputs, calls, strict=True):
                        total = total + model(x).float().pow(2).sum()
                total.backward()
                optimizer.step()
        found.append({entry.parameter: entry.gradient_norm[1] for entry in flow.result().shared}["layer.weight"])
    assert torch.allclose(*found, rtol=0.02)  # bfloat16
