"""The laboratory: networks whose depth, activation, initialisation, normalisation and residual paths one can change.

The network has an input layer, ``depth`` hidden layers of ``width`` units and a linear output, as in the classic
puzzle of the deep sigmoid network that learns nothing: 42 - 128 - 24 x 128 - 1.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ..context import Context, tick
from .meter import watch
from .result import Position

Activation = Literal["sigmoid", "tanh", "relu", "gelu"]
Initialisation = Literal["default", "xavier", "kaiming"]
Normalisation = Literal["none", "batch", "layer"]
Optimizer = Literal["sgd", "momentum", "adam"]

_ACTIVATIONS: dict[str, type[nn.Module]] = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU, "gelu": nn.GELU}
#: E[f'(0)^2] at a small signal, with which the gradient passes the activation: for ReLU half the units pass it.
_SLOPE = {"sigmoid": 1 / 4, "tanh": 1.0, "relu": math.sqrt(1 / 2), "gelu": 1 / 2}
TOLERANCE = 1.2
"""Theory and measurement agree if they differ by no more than this factor per layer."""

_CHOICES: dict[str, tuple[str, ...]] = {
    "activation": ("sigmoid", "tanh", "relu", "gelu"),
    "initialisation": ("default", "xavier", "kaiming"),
    "normalisation": ("none", "batch", "layer"),
    "optimizer": ("sgd", "momentum", "adam"),
}


@dataclasses.dataclass(frozen=True)
class Configuration:
    """A network of the laboratory and how it is trained.

    ``gain`` multiplies the initial weights; ``shared`` uses one layer (and one activation) at all hidden positions;
    ``residual`` adds each hidden layer's input to its output; ``normalisation`` comes before each hidden activation.
    Initialisations: PyTorch's default (uniform, variance 1/(3 fan_in), as for the biases), Xavier and Kaiming (uniform,
    variance 2/(fan_in + fan_out) and 2/fan_in, biases 0; Glorot and Bengio 2010, He et al. 2015).

    Raises
    ------
    TypeError, ValueError
        If a field is of the wrong kind or out of range.
    """

    depth: int = 24
    width: int = 128
    activation: Activation = "sigmoid"
    initialisation: Initialisation = "default"
    gain: float = 1.0
    normalisation: Normalisation = "none"
    residual: bool = False
    shared: bool = False
    optimizer: Optimizer = "sgd"
    learning_rate: float = 0.01
    inputs: int = 42
    batch: int = 64

    def __post_init__(self) -> None:
        """Refuse what no network can be made of."""
        for name, least in (("depth", 1), ("width", 1), ("inputs", 2), ("batch", 2)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} must be a whole number, got {type(value).__name__}")
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        for name in ("gain", "learning_rate"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise TypeError(f"{name} must be a number, got {type(value).__name__}")
            if not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} must be a finite number above 0, got {value}")
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")
        for name in ("residual", "shared"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be True or False, got {type(getattr(self, name)).__name__}")


class Hidden(nn.Module):
    """One hidden layer: linear, normalisation, activation, and the way around them where there is one."""

    def __init__(self, configuration: Configuration) -> None:
        super().__init__()
        width = configuration.width
        self.linear = nn.Linear(width, width)
        kinds: dict[str, Any] = {"none": nn.Identity, "batch": lambda: nn.BatchNorm1d(width)}
        self.norm = kinds.get(configuration.normalisation, lambda: nn.LayerNorm(width))()
        self.activation = _ACTIVATIONS[configuration.activation]()
        self.residual = configuration.residual

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output, of the shape of ``x``."""
        out = self.activation(self.norm(self.linear(x)))
        return x + out if self.residual else out


def build(configuration: Configuration, seed: int = 0) -> nn.Sequential:
    """The network of a configuration, freshly initialised with ``seed``; the global random state stays as it was.

    Its children: 0 the input layer, 1 its activation, then the hidden layers, last the output layer.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        number = 1 if configuration.shared else configuration.depth
        hidden = [Hidden(configuration) for _ in range(number)]
        layers = hidden * configuration.depth if configuration.shared else hidden
        first, last = nn.Linear(configuration.inputs, configuration.width), nn.Linear(configuration.width, 1)
        model = nn.Sequential(first, _ACTIVATIONS[configuration.activation](), *layers, last)
        for module in model.modules():
            if isinstance(module, nn.Linear):
                _initialise(module, configuration)
    return model


def _initialise(linear: nn.Linear, configuration: Configuration) -> None:
    with torch.no_grad():
        if configuration.initialisation == "xavier":
            nn.init.xavier_uniform_(linear.weight)
            linear.bias.zero_()
        elif configuration.initialisation == "kaiming":
            nn.init.kaiming_uniform_(linear.weight, nonlinearity="relu")
            linear.bias.zero_()
        linear.weight.mul_(configuration.gain)


def theory_factor(configuration: Configuration) -> float | None:
    """By what the gradient's norm is multiplied per hidden layer on its way back, by a simple theory; None where it
    has none.

    A linear layer with weights of variance v multiplies the norm by sqrt(width * v), the activation by its root mean
    square slope at a small signal: 1/4 for sigmoid, 1 for tanh, sqrt(1/2) for ReLU, 1/2 for GELU. With PyTorch's
    default initialisation (v = 1/(3 width)) that makes 1/(4 sqrt 3) = .144, 1/sqrt 3 = .577 and 1/sqrt 6 = .408.
    Normalisation and residual paths are beyond it.
    """
    if configuration.normalisation != "none" or configuration.residual:
        return None
    variance = {"default": 1 / 3, "xavier": 1.0, "kaiming": 2.0}[configuration.initialisation]
    return configuration.gain * math.sqrt(variance) * _SLOPE[configuration.activation]


@dataclasses.dataclass(frozen=True, eq=False)
class Profile:
    """The gradient along the network at initialisation, over several seeds.

    Attributes
    ----------
    layer: Int[Tensor, "layer"]
        0 for the activation of the input layer, then the hidden layers 1 to ``depth``.
    gradient_norm: Float[Tensor, "seed layer"]
        L2 norm of dL/d(output of the layer's activation) in one batch of X, y ~ N(0, 1) under mean squared error,
        float64.
    median, low, high: Float[Tensor, "layer"]
        Over the seeds: the median, and the quartiles.
    activation_std, saturated_fraction: Float[Tensor, "seed layer"]
        Of the activations' outputs.
    theory: Float[Tensor, "layer"] | None
        ``factor ** (depth - layer)`` times the median at the last layer; None where the theory has no factor.
    factor: float | None
        See `theory_factor`.
    slope: float | None
        Root mean square of the activation's slope at the signals of the hidden layers (over batch and units; its
        geometric mean over layers and seeds); the theory takes the slope at a small signal instead. None as ``factor``.
    factor_at_slope: float | None
        The theory's factor with ``slope``. It differs from ``factor`` where units saturate or the signal is not small.
    measured_factor: float
        The geometric mean per layer that was measured: (median at layer 0 / median at the last) ** (1 / depth).
    configuration: Configuration
    """

    layer: Int[Tensor, "layer"]
    gradient_norm: Float[Tensor, "seed layer"]
    median: Float[Tensor, "layer"]
    low: Float[Tensor, "layer"]
    high: Float[Tensor, "layer"]
    activation_std: Float[Tensor, "seed layer"]
    saturated_fraction: Float[Tensor, "seed layer"]
    theory: Float[Tensor, "layer"] | None
    factor: float | None
    slope: float | None
    factor_at_slope: float | None
    measured_factor: float
    configuration: Configuration

    @property
    def small_slope(self) -> float:
        """The slope that the theory takes: that at a small signal."""
        return _SLOPE[self.configuration.activation]

    @property
    def theory_holds(self) -> bool | None:
        """Whether theory and measurement agree per layer up to `TOLERANCE`; None where there is nothing to compare."""
        return _agree(self.factor, self.measured_factor)

    @property
    def slope_matters(self) -> bool | None:
        """Whether the measured slope changes the theory's factor by more than `TOLERANCE`."""
        agree = _agree(self.factor, self.factor_at_slope)
        return None if agree is None else not agree

    @property
    def slope_explains(self) -> bool | None:
        """Whether the theory agrees with the measurement once it takes the measured slope."""
        return _agree(self.factor_at_slope, self.measured_factor)


def _agree(one: float | None, other: float | None) -> bool | None:
    if one is None or other is None or not (0 < one < math.inf and 0 < other < math.inf):
        return None
    return 1 / TOLERANCE <= one / other <= TOLERANCE


def profile_at_initialisation(
    configuration: Configuration, seeds: Sequence[int] = (0, 1, 2, 3, 4), context: Context | None = None
) -> Profile:
    """The gradient profile of freshly initialised networks, one per seed, by the meter itself.

    Raises
    ------
    TypeError
        If ``configuration`` is no `Configuration`.
    ValueError
        If there is no seed.
    """
    _check(configuration)
    if not len(seeds):
        raise ValueError("seeds must hold at least one seed, got none")
    gradient, spread, saturated, slopes = [], [], [], []
    factor = theory_factor(configuration)
    for i, seed in enumerate(seeds):
        tick(context, i / len(seeds), f"seed {seed}")
        model = build(configuration, seed)
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(configuration.batch, configuration.inputs, generator=generator)
        y = torch.randn(configuration.batch, 1, generator=generator)
        with watch(model, every=1) as flow:
            nn.functional.mse_loss(model(x), y).backward()
        g = flow.result()
        at = _activations(g.positions, configuration)
        gradient.append(g.gradient_norm[0, at])
        spread.append(g.activation_std[0, at])
        saturated.append(g.saturated_fraction[0, at])
        if factor is not None:
            slopes.append(_slopes(model, x))
    norms = torch.stack(gradient)
    median = norms.quantile(0.5, dim=0)
    layer = torch.arange(configuration.depth + 1)
    theory = None if factor is None else median[-1] * torch.tensor(factor, dtype=torch.float64) ** layer.flip(0)
    slope = float(torch.stack(slopes).log().mean().exp()) if slopes else None
    ratio = float(median[0] / median[-1])
    return Profile(
        layer=layer,
        gradient_norm=norms,
        median=median,
        low=norms.quantile(0.25, dim=0),
        high=norms.quantile(0.75, dim=0),
        activation_std=torch.stack(spread),
        saturated_fraction=torch.stack(saturated),
        theory=theory,
        factor=factor,
        slope=slope,
        factor_at_slope=None if factor is None or slope is None else factor * slope / _SLOPE[configuration.activation],
        measured_factor=ratio ** (1 / configuration.depth),
        configuration=configuration,
    )


def _slopes(model: nn.Sequential, x: Tensor) -> Float[Tensor, "layer"]:
    """The root mean square slope of each hidden layer's activation; for layers without normalisation."""
    found, h = [], x
    for layer in model:
        if isinstance(layer, Hidden):
            before = layer.linear(h).detach().requires_grad_()
            after = layer.activation(before)
            found.append(torch.autograd.grad(after.sum(), before)[0].double().square().mean().sqrt())
            h = after.detach()
        else:
            h = layer(h)
    return torch.stack(found)


def _activations(positions: tuple[Position, ...], configuration: Configuration) -> list[int]:
    kind = _ACTIVATIONS[configuration.activation].__name__
    return [i for i, position in enumerate(positions) if position.kind == kind]


@dataclasses.dataclass(frozen=True, eq=False)
class Training:
    """A training run of the laboratory on y = sin(x_1) + x_2 / 2, x ~ N(0, 1), a fresh batch each step.

    ``loss`` is the mean squared error on a fixed test set of 1,024 inputs before the steps in ``step``, ``ratio`` that
    over the variance of its targets: 1 is what the best constant reaches. ``diverged`` is the first step whose loss
    was not finite, None if there was none.
    """

    step: Int[Tensor, "step"]
    loss: Float[Tensor, "step"]
    ratio: Float[Tensor, "step"]
    best_constant: float
    diverged: int | None
    configuration: Configuration


def train_laboratory(
    configuration: Configuration, steps: int = 400, context: Context | None = None, seed: int = 0, points: int = 50
) -> Training:
    """Train a network of the laboratory and follow its test loss at ``points`` + 1 steps, the last after the last step.

    If ``context`` has a method ``publish`` too, that is called with the `Training` so far at each of these steps.

    Raises
    ------
    TypeError, ValueError
        If an argument is of the wrong kind or out of range.
    Cancelled
        If ``context`` says to stop.
    """
    _check(configuration)
    if isinstance(steps, bool) or not isinstance(steps, int):
        raise TypeError(f"steps must be a whole number, got {type(steps).__name__}")
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    model = build(configuration, seed)
    generator = torch.Generator().manual_seed(seed)
    test_x = torch.randn(1024, configuration.inputs, generator=generator)
    test_y = _target(test_x)
    variance = float(test_y.var(unbiased=False))
    optimizer = _optimizer(model, configuration)
    every = max(1, steps // points)
    publish = getattr(context, "publish", None)
    at: list[int] = []
    losses: list[float] = []

    def so_far() -> Training:
        found = torch.tensor(losses, dtype=torch.float64)
        diverged = None if math.isfinite(losses[-1]) else at[-1]
        return Training(torch.tensor(at), found, found / variance, 1.0, diverged, configuration)

    for step in range(steps + 1):
        if step % every == 0 or step == steps:
            model.eval()
            with torch.no_grad():
                loss = float(nn.functional.mse_loss(model(test_x), test_y))
            model.train()
            at.append(step)
            losses.append(loss)
            if not math.isfinite(loss):
                break
            if publish is not None:
                publish(so_far())
            tick(context, step / steps, f"step {step} of {steps}, loss/var(y) {loss / variance:.3f}")
        if step < steps:
            x = torch.randn(configuration.batch, configuration.inputs, generator=generator)
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), _target(x)).backward()
            optimizer.step()
    return so_far()


def _target(x: Tensor) -> Tensor:
    return (x[:, :1].sin() + 0.5 * x[:, 1:2]).detach()


def _optimizer(model: nn.Module, configuration: Configuration) -> torch.optim.Optimizer:
    rate = configuration.learning_rate
    if configuration.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr=rate)
    return torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9 if configuration.optimizer == "momentum" else 0.0)


def _check(configuration: Configuration) -> None:
    if not isinstance(configuration, Configuration):
        raise TypeError(f"configuration must be a Configuration, got {type(configuration).__name__}")


@dataclasses.dataclass(frozen=True, eq=False)
class ResidualFilters:
    """The filters that a plain and a residual convolution learn on the same target.

    ``plain`` and ``residual`` hold the learned kernels, ``target`` the kernel that made the targets, ``delta`` the
    kernel of the identity: output channel x input channel x height x width, float64. At the unique minimum ``plain =
    residual + delta``; ``error`` is the largest deviation from it. ``plain_loss`` and ``residual_loss`` are the losses
    after each step. ``closeness`` is how far the target is from the identity.
    """

    plain: Float[Tensor, "out channel height width"]
    residual: Float[Tensor, "out channel height width"]
    target: Float[Tensor, "out channel height width"]
    delta: Float[Tensor, "out channel height width"]
    error: float
    plain_loss: Float[Tensor, "step"]
    residual_loss: Float[Tensor, "step"]
    closeness: float


def residual_against_plain(
    channels: int = 2,
    kernel_size: int = 3,
    closeness: float = 0.1,
    steps: int = 400,
    seed: int = 0,
    context: Context | None = None,
) -> ResidualFilters:
    """Train y = f(x) and y = f(x) + x, f one linear convolution, to map noise images as a kernel near the identity
    does.

    The target kernel is delta + ``closeness`` * N(0, 1), both filters start from the same PyTorch default, and the
    loss is the mean squared error on 16 images, a quadratic with one minimum; L-BFGS reaches it. So what is learned
    differs exactly by the identity: the plain filter tends to a delta, the residual one to zero.

    Raises
    ------
    ValueError
        If ``channels`` or ``steps`` is below 1, ``kernel_size`` is even or ``closeness`` negative.
    """
    if channels < 1 or steps < 1:
        raise ValueError(f"channels and steps must be at least 1, got {channels} and {steps}")
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"kernel_size must be odd, so that the output keeps the size of the input, got {kernel_size}")
    if not (closeness >= 0 and math.isfinite(closeness)):
        raise ValueError(f"closeness must be a finite number of at least 0, got {closeness}")
    generator = torch.Generator().manual_seed(seed)
    shape = channels, channels, kernel_size, kernel_size
    delta = nn.init.dirac_(torch.empty(shape, dtype=torch.float64))
    target = delta + closeness * torch.randn(shape, dtype=torch.float64, generator=generator)
    bound = 1 / math.sqrt(channels * kernel_size**2)
    start = (torch.rand(shape, dtype=torch.float64, generator=generator) * 2 - 1) * bound
    images = torch.randn(16, channels, 12, 12, dtype=torch.float64, generator=generator)
    padding = kernel_size // 2
    wanted = nn.functional.conv2d(images, target, padding=padding)
    learned, losses = [], []
    for number, skip in enumerate((0.0, 1.0)):
        weight = start.clone().requires_grad_()
        found = _descend(weight, images, wanted - skip * images, padding, steps, context, number / 2)
        learned.append(weight.detach())
        losses.append(found)
    plain, residual = learned
    error = float((plain - residual - delta).abs().max())
    return ResidualFilters(plain, residual, target, delta, error, losses[0], losses[1], closeness)


def _descend(
    weight: Tensor, images: Tensor, wanted: Tensor, padding: int, steps: int, context: Context | None, done: float
) -> Tensor:
    optimizer = torch.optim.LBFGS(
        [weight], max_iter=1, tolerance_grad=0.0, tolerance_change=0.0, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(nn.functional.conv2d(images, weight, padding=padding), wanted)
        loss.backward()
        return loss

    losses = []
    for step in range(steps):
        tick(context, done + step / steps / 2, f"step {step} of {steps}")
        optimizer.step(closure)
        losses.append(float(closure().detach()))
        if losses[-1] < 1e-26:
            break
    return torch.tensor(losses, dtype=torch.float64)
