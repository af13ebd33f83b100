"""The facts about deep networks that the laboratory shows, and the residual filters."""

import math
import threading

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dlwidgets.compute.context import Cancelled
from dlwidgets.compute.gradient_flow import (
    Configuration,
    profile_at_initialisation,
    residual_against_plain,
    theory_factor,
    train_laboratory,
    watch,
)
from dlwidgets.compute.gradient_flow.laboratory import build

SEEDS = range(5)


def puzzle(activation: type[nn.Module], shared: bool, kaiming: bool = False) -> nn.Sequential:
    """The network of the puzzle: 42 - 128 - 24 x 128 - 1, the hidden layers one object or 24."""
    if shared:
        middle: list[nn.Module] = [nn.Linear(128, 128), activation()] * 24
    else:
        middle = [layer for _ in range(24) for layer in (nn.Linear(128, 128), activation())]
    model = nn.Sequential(nn.Linear(42, 128), activation(), *middle, nn.Linear(128, 1))
    if kaiming:
        for layer in model:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return model


def by_hand(model: nn.Sequential, x: Tensor, y: Tensor, kind: type[nn.Module]) -> list[float]:
    """Gradient norms at the activations by retain_grad, in float64."""
    kept, h = [], x.double()
    for layer in model.double():
        h = layer(h)
        if isinstance(layer, kind):
            h.retain_grad()
            kept.append(h)
    (h - y.double()).pow(2).mean().backward()
    model.float()
    return [float(out.grad.norm()) for out in kept]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("kind", "shared", "kaiming", "expected"),
    [
        (nn.Sigmoid, True, False, 6.2e-21),
        (nn.Sigmoid, False, False, 4.0e-21),
        (nn.Tanh, True, False, 2.3e-6),
        (nn.ReLU, False, False, 3.7e-10),
        (nn.ReLU, False, True, 1.0),
    ],
)
def test_gradient_at_the_first_activation_over_that_at_the_last(
    kind: type[nn.Module], shared: bool, kaiming: bool, expected: float
) -> None:
    logs = []
    for seed in SEEDS:
        torch.manual_seed(seed)
        model = puzzle(kind, shared, kaiming)
        x, y = torch.randn(64, 42), torch.randn(64, 1)
        with watch(model, every=1) as flow:
            nn.functional.mse_loss(model(x), y).backward()
        g = flow.result()
        at = [i for i, position in enumerate(g.positions) if position.kind == kind.__name__]
        assert len(at) == 25
        norms = g.gradient_norm[0, at]
        if seed == 0:
            np.testing.assert_allclose(norms.numpy(), by_hand(model, x, y, kind), rtol=2e-4)
        logs.append(math.log10(norms[0] / norms[24]))
    assert abs(np.mean(logs) - math.log10(expected)) < 0.5


def test_the_shared_layers_gradient_looks_healthy_while_its_first_call_contributes_nothing() -> None:
    whole, first, last = [], [], []
    for seed in SEEDS:
        torch.manual_seed(seed)
        model = puzzle(nn.Sigmoid, True)
        with watch(model, every=1) as flow:
            nn.functional.mse_loss(model(torch.randn(64, 42)), torch.randn(64, 1)).backward()
        g = flow.result()
        (weight,) = [s for s in g.shared if s.parameter == "2.weight"]
        assert len(weight.positions) == 24
        whole.append(float(g.parameter_gradient_norm[0, g.parameters.index("2.weight")]))
        first.append(float(weight.gradient_norm[0, 0]))
        last.append(float(weight.share[0, -1]))
    assert 0.02 < np.exp(np.mean(np.log(whole))) < 2
    assert abs(np.mean(np.log10(first)) + 20) < 1
    assert min(last) > 0.9


@pytest.mark.parametrize(
    ("activation", "factor"),
    [("sigmoid", 1 / (4 * math.sqrt(3))), ("tanh", 1 / math.sqrt(3)), ("relu", 1 / math.sqrt(6))],
)
def test_theory_factors_and_what_is_measured(activation: str, factor: float) -> None:
    configuration = Configuration(activation=activation)  # type: ignore[arg-type]
    assert theory_factor(configuration) == pytest.approx(factor, rel=1e-12)
    profile = profile_at_initialisation(configuration)
    assert profile.factor == pytest.approx(factor)
    assert profile.measured_factor == pytest.approx(factor, rel=0.05)
    assert profile.gradient_norm.shape == (5, 25)
    assert profile.theory is not None
    assert float(profile.theory[0] / profile.theory[-1]) == pytest.approx(factor**24)
    assert (profile.low <= profile.median).all()
    assert (profile.median <= profile.high).all()


def test_normalisation_and_residual_paths_keep_the_gradient_where_there_is_no_simple_theory() -> None:
    for options in ({"normalisation": "batch"}, {"residual": True}, {"normalisation": "layer", "residual": True}):
        configuration = Configuration(activation="tanh", depth=12, **options)  # type: ignore[arg-type]
        profile = profile_at_initialisation(configuration, seeds=(0, 1))
        assert profile.theory is None
        assert profile.factor is None
        assert profile.measured_factor > theory_factor(Configuration(activation="tanh"))  # type: ignore[operator]


def test_profiles_are_reproducible_and_leave_the_random_state_alone() -> None:
    before = torch.get_rng_state()
    a, b = (profile_at_initialisation(Configuration(depth=3, width=16, shared=True), seeds=(0, 4)) for _ in range(2))
    assert torch.equal(a.gradient_norm, b.gradient_norm)
    assert not torch.equal(a.gradient_norm[0], a.gradient_norm[1])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("rate", [0.01, 0.1])
def test_tanh_alone_does_not_cure_the_deep_network(rate: float) -> None:
    training = train_laboratory(Configuration(activation="tanh", shared=True, learning_rate=rate), steps=2000)
    assert training.step[-1] == 2000
    assert training.diverged is None
    settled = training.ratio[len(training.ratio) // 4 :]
    assert float(settled.min()) >= 0.98
    assert float(settled.max()) <= 1.03


def test_a_network_with_normalisation_and_residual_paths_learns() -> None:
    configuration = Configuration(
        activation="tanh",
        depth=6,
        width=32,
        normalisation="layer",
        residual=True,
        optimizer="adam",
        learning_rate=0.003,
    )
    training = train_laboratory(configuration, steps=300)
    assert training.ratio[-1] < 0.7
    assert training.best_constant == 1.0


def test_divergence_is_reported_and_cancelling_stops() -> None:
    wild = Configuration(activation="relu", depth=3, width=8, learning_rate=1e6)
    assert train_laboratory(wild, steps=50).diverged is not None

    class Stop:
        def __init__(self) -> None:
            self.event, self.reports = threading.Event(), 0

        def report(self, fraction: float, text: str) -> None:
            assert 0 <= fraction <= 1
            assert "loss/var(y)" in text
            self.reports += 1
            if self.reports == 3:
                self.event.set()

        def cancelled(self) -> bool:
            return self.event.is_set()

    with pytest.raises(Cancelled):
        train_laboratory(Configuration(depth=1, width=4), steps=100, context=Stop())


@pytest.mark.parametrize(("channels", "kernel_size"), [(1, 3), (2, 3), (3, 5)])
def test_the_plain_filter_is_the_residual_one_plus_a_delta(channels: int, kernel_size: int) -> None:
    filters = residual_against_plain(channels, kernel_size)
    assert filters.error < 1e-10
    torch.testing.assert_close(filters.plain, filters.residual + filters.delta, rtol=0, atol=1e-10)
    # the minimum is unique: it is the kernel that made the targets
    torch.testing.assert_close(filters.plain, filters.target, rtol=0, atol=1e-10)
    assert filters.residual.norm() < filters.plain.norm()
    assert filters.delta.sum() == channels
    assert filters.plain_loss[0] > 1e3 * filters.plain_loss[-1]
    exact = residual_against_plain(channels, kernel_size, closeness=0.0)
    torch.testing.assert_close(exact.residual, torch.zeros_like(exact.residual), rtol=0, atol=1e-10)


def test_refusals() -> None:
    for name, value in (("depth", 0), ("width", 0), ("inputs", 1), ("gain", 0.0), ("learning_rate", math.inf)):
        with pytest.raises(ValueError, match=name):
            Configuration(**{name: value})
    with pytest.raises(ValueError, match="activation must be one of sigmoid, tanh, relu, gelu, got 'swish'"):
        Configuration(activation="swish")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="depth must be a whole number"):
        Configuration(depth=2.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="residual must be True or False"):
        Configuration(residual=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="configuration must be a Configuration"):
        profile_at_initialisation({})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least one seed"):
        profile_at_initialisation(Configuration(), seeds=())
    with pytest.raises(ValueError, match="steps must be at least 1"):
        train_laboratory(Configuration(), steps=0)
    with pytest.raises(ValueError, match="kernel_size must be odd"):
        residual_against_plain(kernel_size=4)


def test_where_units_saturate_the_theory_misses_and_the_measured_slope_explains_it() -> None:
    far = Configuration(activation="tanh", initialisation="kaiming", gain=2.0)
    profile = profile_at_initialisation(far)
    assert profile.factor == pytest.approx(2 * math.sqrt(2))
    assert profile.measured_factor < 1.5
    assert (profile.theory_holds, profile.slope_matters, profile.slope_explains) == (False, True, True)
    # tanh' = 1 - tanh^2, by hand from the outputs of one network
    model, h, logs = build(far, 0), torch.randn(64, 42, generator=torch.Generator().manual_seed(0)), []
    with torch.no_grad():
        for layer in list(model)[:-1]:
            h = layer(h)
            logs.append(math.log(float((1 - h.double().square()).square().mean().sqrt())))
    one_seed = profile_at_initialisation(far, seeds=(0,))
    assert one_seed.slope == pytest.approx(math.exp(np.mean(logs[2:])), rel=1e-5)
    assert one_seed.factor_at_slope == pytest.approx(2 * math.sqrt(2) * one_seed.slope)


def test_the_theory_is_not_excused_where_it_holds_and_not_by_slopes_where_these_are_right() -> None:
    for activation in ("sigmoid", "tanh", "relu", "gelu"):
        near = profile_at_initialisation(Configuration(activation=activation))  # type: ignore[arg-type]
        assert near.theory_holds
        assert not near.slope_matters
    powers = Configuration(activation="relu", initialisation="kaiming", shared=True, width=16)
    profile = profile_at_initialisation(powers)
    assert (profile.theory_holds, profile.slope_matters, profile.slope_explains) == (False, False, False)
    for beyond in (Configuration(residual=True, depth=4), Configuration(depth=40, gain=0.5, width=16)):
        profile = profile_at_initialisation(beyond)
        assert profile.theory_holds is None
