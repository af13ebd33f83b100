"""Training without an optimizer object that moves elsewhere between two samples is counted to the step."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_gradient_flow_interference import global_hooks
from torch import Tensor, nn

from dlwidgets.compute.gradient_flow import trigger, watch

#: The steps that this budget allows are the fixed ones, so everything after step 63 is up to the trigger.
THRIFTY: dict[str, Any] = {"budget": 1e-9}
RARE: dict[str, Any] = {"every": 1000}


class Branches(nn.Module):
    """Three parts, of which ``used`` says which are on the way."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.parts = nn.ModuleList(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1)) for _ in range(3))
        self.used = [0]

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.parts[0][0].weight.dtype)
        return torch.stack([self.parts[i](x) for i in self.used]).sum(0)


class Loop:
    """A hand-written training loop that knows itself how many steps it has made."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.num_steps = model, 0
        self.wanted: Callable[[], list[Any]] = lambda: [p for p in model.parameters() if p.requires_grad]
        self.by_hand = False

    def step(self) -> None:
        loss = self.model(torch.randn(3, 4)).pow(2).mean()
        if self.by_hand:
            wanted = self.wanted()
            gradients = torch.autograd.grad(loss, wanted, allow_unused=True)
            with torch.no_grad():
                for p, gradient in zip(wanted, gradients, strict=True):
                    if gradient is not None:
                        p -= 0.01 * gradient
        else:
            for p in self.model.parameters():
                p.grad = None
            loss.backward()
            for p in self.model.parameters():
                if p.grad is not None:
                    p.data -= 0.01 * p.grad
        self.num_steps += 1


def use_another(loop: Loop) -> None:
    loop.model.used = [2]


def add_another(loop: Loop) -> None:
    loop.model.used = [0, 1]


def to_double(loop: Loop) -> None:
    loop.model.double()


def assign(loop: Loop) -> None:
    loop.model.load_state_dict({k: v.clone() for k, v in loop.model.state_dict().items()}, assign=True)


def replace_a_module(loop: Loop) -> None:
    loop.model.parts[0] = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 1))


def replace_layers(loop: Loop) -> None:
    for part in loop.model.parts:
        part[0], part[2] = nn.Linear(4, 5), nn.Linear(5, 1)


def replace_parameters(loop: Loop) -> None:
    for part in loop.model.parts:
        for layer in (part[0], part[2]):
            layer.weight, layer.bias = (nn.Parameter(p.detach().clone()) for p in (layer.weight, layer.bias))


def take_gradients_by_hand(loop: Loop) -> None:
    loop.by_hand = not loop.by_hand


def take_a_few_gradients(loop: Loop) -> None:
    loop.by_hand, loop.wanted = True, lambda: list(loop.model.parts[0][0].parameters())


def freeze_the_last_layer(loop: Loop) -> None:
    loop.model.parts[0][2].requires_grad_(False)


def freeze_the_ends(loop: Loop) -> None:
    for p in (loop.model.parts[0][0].weight, loop.model.parts[0][2].bias):
        p.requires_grad_(False)


def freeze_and_unfreeze_a_part(loop: Loop) -> None:
    """With forwards between that nothing can follow."""
    loop.model.requires_grad_(False)
    for _ in range(70):
        loop.model(torch.randn(3, 4))
    loop.model.parts[0][2].weight.requires_grad_()


def look_and_replace(loop: Loop) -> None:
    """A forward without a backward pass comes before the replacement."""
    loop.model(torch.randn(3, 4))
    assign(loop)
    with torch.no_grad():
        loop.model(torch.randn(3, 4))
    replace_layers(loop)


def evaluate_and_replace(loop: Loop) -> None:
    loop.model.eval()
    loop.model(torch.randn(3, 4))
    to_double(loop)
    loop.model(torch.randn(3, 4))
    assign(loop)
    loop.model.train()


def fail_and_replace(loop: Loop) -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        loop.model(torch.randn(3, 5))
    assign(loop)


SWITCHES = [
    use_another,
    add_another,
    to_double,
    assign,
    replace_a_module,
    replace_layers,
    replace_parameters,
    take_gradients_by_hand,
    take_a_few_gradients,
    freeze_the_last_layer,
    freeze_the_ends,
    freeze_and_unfreeze_a_part,
    look_and_replace,
    evaluate_and_replace,
    fail_and_replace,
]
#: Those without a forward between that no backward pass follows.
FORESEEN = [*SWITCHES[:-4], evaluate_and_replace]


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Any:
    yield
    assert global_hooks() == []


def count(switch: Callable[[Loop], None], at: int, by_hand: bool, ask: bool, **options: Any) -> Loop:
    loop = Loop(Branches())
    loop.by_hand = by_hand
    with watch(loop.model, **options) as flow:
        for step in range(2 * at):
            if step == at:
                switch(loop)
            loop.step()
            if ask:
                assert flow.num_steps == loop.num_steps - 1  # a step ends with the next forward
    assert flow.failure is None
    assert flow.num_steps == loop.num_steps == 2 * at
    assert all(not p._backward_hooks for p in loop.model.parameters())
    return loop


@pytest.mark.parametrize("options", [THRIFTY, RARE], ids=["budget", "every"])
@pytest.mark.parametrize("by_hand", [False, True])
@pytest.mark.parametrize("switch", SWITCHES)
def test_training_that_moves_is_counted_to_the_step(
    switch: Callable[[Loop], None], by_hand: bool, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trigger, "FAST", 0.0)
    count(switch, 90, by_hand, ask=False, **options)


@pytest.mark.parametrize("switch", [*FORESEEN, freeze_and_unfreeze_a_part])
def test_of_fast_steps_the_count_is_right_whenever_somebody_asks(
    switch: Callable[[Loop], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trigger, "FAST", float("inf"))
    count(switch, 90, False, ask=True, **THRIFTY)


@pytest.mark.parametrize("switch", FORESEEN)
def test_what_is_frozen_or_replaced_is_noticed_in_fast_loops(
    switch: Callable[[Loop], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trigger, "FAST", float("inf"))
    count(switch, 90, False, ask=False)


@pytest.mark.parametrize("switch", SWITCHES)
def test_training_that_moves_early_is_counted_to_the_step(
    switch: Callable[[Loop], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trigger, "FAST", 0.0)
    count(switch, 20, False, ask=False)


def test_gradients_that_go_on_to_come_but_only_in_the_middle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trigger, "FAST", 0.0)
    loop = Loop(Branches())
    loop.model.used = [0, 1, 2]
    with watch(loop.model, **THRIFTY) as flow:
        for step in range(200):
            if step == 100:
                loop.by_hand, loop.wanted = True, lambda: list(loop.model.parts[1].parameters())
            loop.step()
    assert flow.num_steps == 199  # the first of the others had nothing to tell it


def test_weights_that_are_held_outside_the_model() -> None:
    """Each step makes new ones, which stand in for the model's own parameters."""
    model = Branches()
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}
    with watch(model, **THRIFTY) as flow:
        for _ in range(100):
            weights = {name: p.detach().requires_grad_() for name, p in weights.items()}
            loss = torch.func.functional_call(model, weights, (torch.randn(3, 4),)).pow(2).mean()
            used = {name: p for name, p in weights.items() if name.startswith("parts.0")}
            gradients = torch.autograd.grad(loss, list(used.values()))
            for (name, p), gradient in zip(used.items(), gradients, strict=True):
                weights[name] = p - 0.01 * gradient
    assert flow.failure is None
    assert flow.num_steps == 100


def test_parts_that_are_called_by_themselves() -> None:
    model = Branches()
    with watch(model, **THRIFTY) as flow:
        for step in range(160):
            part = model.parts[step // 40 % 3]
            if step == 100:
                model.double()
            part(torch.randn(3, 4, dtype=part[0].weight.dtype)).pow(2).mean().backward()
            with torch.no_grad():
                for p in part.parameters():
                    p -= 0.01 * p.grad
                    p.grad = None
    assert flow.num_steps == 160


def test_experts_that_take_turns() -> None:
    model = Branches()
    loop = Loop(model)
    with watch(model, **THRIFTY) as flow:
        for step in range(200):
            model.used = [step * 7 % 11 % 3]
            loop.step()
    assert flow.num_steps == 200


def test_two_forwards_a_step_are_no_reason_to_hook_everything_again(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    original = trigger.Trigger._listen
    monkeypatch.setattr(trigger.Trigger, "_listen", lambda self: (looked.append(1), original(self))[1])
    monkeypatch.setattr(trigger, "REST", float("inf"))
    model = Branches()
    with watch(model, **THRIFTY) as flow:
        for _ in range(200):
            model.zero_grad()
            (model(torch.randn(3, 4)) - model(torch.randn(3, 4))).pow(2).mean().backward()
            for p in model.parts[0].parameters():
                p.data -= 0.01 * p.grad
    assert flow.num_steps == 200
    assert len(looked) <= 8  # once after each sample, and once to make sure
