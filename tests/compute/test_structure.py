"""The copy computes the same with the same weights, and nothing done to it reaches the model."""

import copy
import sys
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from dlwidgets.compute.structure import structural_copy


class Tangled(nn.Module):
    """A module that is used twice, listed outside the registry, referred to by a method, and hooked."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 3, 3, padding=1)
        self.again = self.first
        self.norm = nn.BatchNorm2d(3)
        self.plain = [self.first, {"norm": self.norm}]
        self.activate = self._relu
        self.register_buffer("gain", torch.ones(1))
        self.also_gain = self.gain
        self.foreign = {"data": object()}
        self.norm.register_forward_hook(self._scale)

    def _relu(self, x: Tensor) -> Tensor:
        return torch.relu(x) if not self.training else x

    def _scale(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output * self.gain

    def forward(self, x: Tensor) -> Tensor:
        self.also_gain.add_(1.0)
        return self.activate(self.plain[1]["norm"](self.again(self.plain[0](x))))


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("training", [True, False])
def test_the_copy_computes_the_same(training: bool) -> None:
    model = Tangled().train(training)
    reference = copy.deepcopy(model)
    x = torch.rand(2, 3, 5, 5)
    assert torch.equal(structural_copy(model)(x), reference(x))


def test_what_happens_to_the_copy_leaves_the_model_alone() -> None:
    model = Tangled().train()
    before, hooks = state(model), len(model.norm._forward_hooks)
    copied = structural_copy(model, training=True)
    copied(torch.rand(2, 3, 5, 5))
    copied.eval()
    copied.first.register_forward_hook(lambda *_: None)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not torch.equal(copied.norm.running_mean, model.norm.running_mean)
    assert model.training
    assert model.first.training
    assert not copied.norm.training
    assert len(model.norm._forward_hooks) == hooks
    assert not model.first._forward_hooks
    assert not hasattr(model.first, "extra")


def test_tensors_are_shared_and_modules_are_not() -> None:
    model = Tangled()
    copied = structural_copy(model)
    assert all(a is b for a, b in zip(model.parameters(), copied.parameters(), strict=True))
    ours, theirs = {id(m) for m in model.modules()}, {id(m) for m in copied.modules()}
    assert not ours & theirs
    assert copied.again is copied.first
    assert copied.plain[0] is copied.first
    assert copied.plain[1]["norm"] is copied.norm
    assert copied.also_gain is copied.gain
    assert copied.foreign["data"] is model.foreign["data"]
    assert list(dict(copied.named_modules())) == list(dict(model.named_modules()))
    assert state(copied).keys() == state(model).keys()


@pytest.mark.parametrize("training", [None, True, False])
def test_the_mode_is_kept_or_set(training: bool | None) -> None:
    model = Tangled()
    model.norm.eval()  # a frozen norm in a training model
    copied = structural_copy(model, training)
    expected = {"": True, "first": True, "norm": False} if training is None else None
    for name, module in copied.named_modules():
        assert module.training is (expected[name] if expected else training)
    assert [m.training for m in model.modules()] == [True, True, False]


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: nn.LSTM(3, 4, batch_first=True), (2, 5, 3)),
        (lambda: nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True), (2, 5, 8)),
        (lambda: parametrizations.weight_norm(nn.Linear(3, 4)), (2, 3)),
        (lambda: nn.Sequential(nn.Conv1d(3, 3, 3), nn.Sequential(nn.ReLU(), nn.AvgPool1d(2))), (2, 3, 9)),
        (lambda: torch.jit.script(nn.Linear(3, 4)), (2, 3)),
        (lambda: nn.Sequential(torch.jit.script(nn.Linear(3, 4)), nn.ReLU()), (2, 3)),
        (lambda: nn.ModuleDict({"a": nn.Linear(3, 3)})["a"], (2, 3)),
    ],
)
def test_modules_of_every_sort(make: object, shape: tuple[int, ...]) -> None:
    model = make()  # type: ignore[operator]
    x = torch.rand(shape)
    ours, theirs = model(x), structural_copy(model)(x)
    ours, theirs = (value[0] if isinstance(value, tuple) else value for value in (ours, theirs))
    assert torch.equal(ours, theirs)


def test_only_modules_are_taken() -> None:
    with pytest.raises(TypeError, match=r"model must be a torch.nn.Module, got function"):
        structural_copy(lambda x: x)  # type: ignore[arg-type]


def test_another_thread_may_just_be_importing_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch._dynamo", ModuleType("torch._dynamo"))  # as far as the import has come
    model = nn.Linear(3, 2)
    assert structural_copy(model).weight is model.weight
