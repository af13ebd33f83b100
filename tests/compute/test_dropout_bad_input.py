"""What Monte Carlo dropout cannot sample: one sentence, and nothing changed."""

import math

import pytest
import torch
from dropout_zoo import Calls, fingerprint
from torch import Tensor, nn
from torch.nn import functional as F

from dlwidgets.compute.dropout import monte_carlo


class FailsAwake(nn.Dropout):
    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            raise RuntimeError("no training here\nand a long story")
        return x


def test_a_model_that_refuses_training_mode_says_so() -> None:
    class Refuses(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5), nn.BatchNorm1d(3))

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                raise RuntimeError("needs targets")
            return self.body(x)

    model = Refuses()
    before = fingerprint(model)
    with pytest.raises(
        ValueError, match=r"the model fails when its dropout is in training mode: RuntimeError: needs t"
    ):
        monte_carlo(model, torch.ones(2, 3))
    assert fingerprint(model) == before


def test_models_that_cannot_be_sampled() -> None:
    x = torch.ones(2, 3)
    cases = [
        (
            lambda: nn.Linear(3, 2),
            {},
            ValueError,
            r"the model has no dropout on these inputs.*with_dropout\(model, 0.5\)",
        ),
        (
            lambda: FailsAwake(0.5),
            {},
            ValueError,
            "the model fails when its dropout is in training mode: RuntimeError: no training here$",
        ),
        (lambda: nn.Sequential(nn.Linear(7, 2), nn.Dropout()), {}, ValueError, "fails on these inputs in eval mode: "),
        (
            lambda: Calls(lambda self, x: {"y": self.d(x)}, d=nn.Dropout()),
            {},
            TypeError,
            "must return one tensor, got dict",
        ),
        (
            lambda: Calls(lambda self, x: (self.d(x), x), d=nn.Dropout()),
            {},
            TypeError,
            "must return one tensor, got tuple",
        ),
        (lambda: Calls(lambda self, x: self.d(x).argmax(1), d=nn.Dropout()), {}, TypeError, "got torch.int64"),
        (
            lambda: Calls(lambda self, x: self.d(x)[:, :1], d=nn.Dropout()),
            {},
            ValueError,
            "fewer than two classes on axis 1",
        ),
        (lambda: Calls(lambda self, x: self.d(x).sum(), d=nn.Dropout()), {}, ValueError, "a single number"),
        (
            lambda: nn.Dropout(),
            {"output": "probabilities"},
            ValueError,
            "not probabilities: .* the sums go from 3 to 3",
        ),
        (lambda: nn.Dropout(), {"output": "log_probabilities"}, ValueError, "not log_probabilities"),
        (lambda: nn.Dropout(), {"output": "classes"}, ValueError, "output must be one of logits, .*; got 'classes'"),
        (lambda: nn.Dropout(), {"num_samples": 0}, ValueError, "num_samples must be at least 1, got 0"),
        (lambda: nn.Dropout(), {"num_samples": "9"}, TypeError, "num_samples must be a whole number"),
        (lambda: nn.Dropout(), {"probability": 1.5}, ValueError, "probability must lie from 0 to 1, got 1.5"),
        (lambda: nn.Dropout(), {"probability": math.nan}, ValueError, "probability must lie from 0 to 1, got nan"),
        (lambda: nn.Dropout(), {"probability": "0.5"}, TypeError, "probability must be a number"),
        (lambda: nn.Dropout(), {"seed": None}, TypeError, "seed must be a whole number"),
        (lambda: nn.Dropout(), {"inputs": [x]}, TypeError, "inputs must be a tensor, a tuple .* got list"),
        (lambda: nn.Dropout(), {"inputs": None}, TypeError, "inputs must be a tensor, a tuple .* got NoneType"),
        (lambda: nn.Sequential(nn.LazyLinear(2), nn.Dropout()), {}, ValueError, "lazy modules without parameters"),
    ]
    for make, options, error, sentence in cases:
        model = make()
        lazy = "lazy" in sentence
        before = None if lazy else fingerprint(model)
        with pytest.raises(error, match=sentence):
            monte_carlo(model, **{"inputs": x, **options})
        assert lazy or fingerprint(model) == before
    with pytest.raises(TypeError, match=r"model must be a torch.nn.Module, got builtin_function_or_method"):
        monte_carlo(torch.relu, x)
    with pytest.raises(ValueError, match="in TorchScript dropout cannot be seen"):
        monte_carlo(torch.jit.script(nn.Sequential(nn.Dropout())), x)


def test_another_shape_with_dropout_is_refused() -> None:
    class Shrinks(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.dropout(x, 0.5)[:1] if self.training else x

    with pytest.raises(ValueError, match=r"returned shape \(1, 3\) with dropout and \(2, 3\) without"):
        monte_carlo(Shrinks(), torch.ones(2, 3))
