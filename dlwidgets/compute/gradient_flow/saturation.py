"""Where an activation function is saturated: where its derivative is below 1 % of the largest it can have.

Most activations are monotone, so the saturated region is known from the output, which is also all that is left when the
module works in place. The few others are judged by their input.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

#: The share of its largest value below which a derivative counts as none.
SMALL = 0.01

#: Writes 1.0 where its first argument is saturated, else 0.0, into the second, which is alike.
Mark = Callable[[Tensor, Tensor], Tensor]
Derivative = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Saturation:
    """How to mark the saturated elements of one module: ``mark(x, out)`` writes 1.0 where x is saturated, else 0.0.

    ``key`` is equal for modules with equal rules; ``of_input`` says that x is the module's input, not its output;
    ``resting`` that the function is flat by design on one side (rectifiers), where a large fraction is no fault.
    ``calm`` tells more cheaply, on the host, whether nothing at all is saturated; ``calm_is_nonzero`` says that then
    nothing is zero either.
    """

    key: tuple[object, ...]
    mark: Mark
    of_input: bool = False
    resting: bool = False
    calm: Callable[[np.ndarray], bool] | None = None
    calm_is_nonzero: bool = False

    @property
    def is_zero(self) -> bool:
        """Whether the saturated elements are exactly those whose output is zero."""
        return self.mark is _zero


def _zero(x: Tensor, out: Tensor) -> Tensor:
    return torch.eq(x, 0, out=out)


def _never(x: Tensor, out: Tensor) -> Tensor:
    del x
    return out.zero_()


def _outside(middle: float, half: float) -> Mark:
    """|x - middle| >= half."""
    if middle == 0.0:
        return lambda x, out: torch.abs(x, out=out).ge_(half)
    return lambda x, out: torch.sub(x, middle, out=out).abs_().ge_(half)


def _clipped(low: float, high: float) -> Mark:
    """x <= low or x >= high."""
    return lambda x, out: torch.le(x, low, out=out).add_(x >= high)


def _inside(middle: float, half: float) -> Callable[[np.ndarray], bool]:
    """Whether all |x - middle| < half."""
    largest, smallest, high, low = np.maximum.reduce, np.minimum.reduce, middle + half, middle - half
    return lambda x: bool(largest(x, axis=None) < high and smallest(x, axis=None) > low)


def _at_most(limit: float) -> Mark:
    return lambda x, out: torch.le(x, limit, out=out)


def _at_least(limit: float) -> Mark:
    return lambda x, out: torch.ge(x, limit, out=out)


def _within(half: float) -> Mark:
    """|x| < half."""
    return lambda x, out: torch.abs(x, out=out).lt_(half)


def _flat(derivative: Derivative, largest: float) -> Mark:
    """|derivative(x)| < 1 % of its largest value."""
    limit = SMALL * largest
    return lambda x, out: torch.abs(derivative(x), out=out).lt_(limit)


def _gelu(x: Tensor) -> Tensor:
    density = torch.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    return 0.5 * (1 + torch.erf(x / math.sqrt(2))) + x * density


def _gelu_tanh(x: Tensor) -> Tensor:
    scale = math.sqrt(2 / math.pi)
    inner = torch.tanh(scale * (x + 0.044715 * x**3))
    return 0.5 * (1 + inner) + 0.5 * x * (1 - inner * inner) * scale * (1 + 3 * 0.044715 * x * x)


def _silu(x: Tensor) -> Tensor:
    gate = torch.sigmoid(x)
    return gate * (1 + x * (1 - gate))


def _mish(x: Tensor) -> Tensor:
    inner = torch.tanh(nn.functional.softplus(x))
    return inner + x * torch.sigmoid(x) * (1 - inner * inner)


def _hardswish(x: Tensor) -> Tensor:
    return torch.where(x <= -3, torch.zeros_like(x), torch.where(x >= 3, torch.ones_like(x), (2 * x + 3) / 6))


# The largest values of the derivatives above, found where the second derivative is zero.
_LARGEST_GELU = 1.1289041452
_LARGEST_GELU_TANH = 1.1289930687
_LARGEST_SILU = 1.0998393201
_LARGEST_MISH = 1.0884981613


def saturation(module: nn.Module) -> Saturation | None:
    """The saturated region of ``module``, None where the module is no activation with a derivative of its own."""
    for kind, rule in _RULES.items():
        if isinstance(module, kind) and type(module).forward is kind.forward:
            return rule(module)
    return None


def _output(mark: Mark, *key: object, resting: bool = False) -> Saturation:
    return Saturation(key, mark, resting=resting)


def _elu(module: nn.Module) -> Saturation:
    alpha = float(module.alpha)  # type: ignore[arg-type]
    if alpha < SMALL:  # the output does not tell the sides apart
        return Saturation(
            ("elu", alpha),
            _flat(lambda x: torch.where(x > 0, torch.ones_like(x), alpha * torch.exp(x)), max(1.0, abs(alpha))),
            of_input=True,
            resting=True,
        )
    # below zero the derivative is alpha * exp(x) = output + alpha
    return _output(_at_most(SMALL * max(1.0, alpha) - alpha), "elu", alpha, resting=True)


def _selu(module: nn.Module) -> Saturation:
    del module
    bottom = 1.0507009873554805 * 1.6732632423543772
    return _output(_at_most(SMALL * bottom - bottom), "selu", resting=True)


def _celu(module: nn.Module) -> Saturation:
    alpha = float(module.alpha)  # type: ignore[arg-type]
    return _output(_at_most((SMALL - 1) * alpha), "celu", alpha, resting=True)


def _leaky(module: nn.Module) -> Saturation:
    slope = float(module.negative_slope)  # type: ignore[arg-type]
    if abs(slope) >= SMALL:
        return _output(_never, "never")
    if slope < 0:  # the output does not tell the sides apart
        return Saturation(("leaky", "input"), _at_most(0.0), of_input=True, resting=True)
    return _output(_at_most(0.0), "leaky", resting=True)


def _hardtanh(module: nn.Module) -> Saturation:
    low, high = float(module.min_val), float(module.max_val)  # type: ignore[arg-type]
    resting = isinstance(module, nn.ReLU6)
    return _output(_clipped(low, high), "hardtanh", low, high, resting=resting)


def _softplus(module: nn.Module) -> Saturation:
    beta = float(module.beta)  # type: ignore[arg-type]
    # the derivative sigmoid(beta x) is 1 - exp(-beta * output)
    return _output(_at_most(-math.log1p(-SMALL) / beta), "softplus", beta, resting=True)


def _threshold(module: nn.Module) -> Saturation:
    limit = float(module.threshold)  # type: ignore[arg-type]
    return Saturation(("threshold", limit), _at_most(limit), of_input=True, resting=True)


def _gelu_rule(module: nn.Module) -> Saturation:
    if module.approximate == "tanh":
        return Saturation(("gelu", "tanh"), _flat(_gelu_tanh, _LARGEST_GELU_TANH), of_input=True, resting=True)
    return Saturation(("gelu",), _flat(_gelu, _LARGEST_GELU), of_input=True, resting=True)


def _input(name: str, derivative: Derivative, largest: float) -> Callable[[nn.Module], Saturation]:
    rule = Saturation((name,), _flat(derivative, largest), of_input=True, resting=True)
    return lambda _: rule


def _two_sided(name: str, middle: float, half: float) -> Callable[[nn.Module], Saturation]:
    rule = Saturation((name,), _outside(middle, half), calm=_inside(middle, half), calm_is_nonzero=middle > half)
    return lambda _: rule


def _fixed(name: str, mark: Mark, resting: bool = False) -> Callable[[nn.Module], Saturation]:
    rule = Saturation((name,), mark, resting=resting)
    return lambda _: rule


_SHRINK = math.atanh(math.sqrt(SMALL)) - math.sqrt(SMALL)

_RULES: dict[type[nn.Module], Callable[[nn.Module], Saturation]] = {
    # s (1 - s) < 1 % of 1/4
    nn.Sigmoid: _two_sided("sigmoid", 0.5, math.sqrt(0.25 * (1 - SMALL))),
    # 1 - t^2 < 1 %
    nn.Tanh: _two_sided("tanh", 0.0, math.sqrt(1 - SMALL)),
    nn.ReLU: _fixed("relu", _zero, resting=True),
    nn.ReLU6: _hardtanh,
    nn.Hardtanh: _hardtanh,
    nn.Hardsigmoid: _fixed("hardsigmoid", _clipped(0.0, 1.0)),
    nn.LeakyReLU: _leaky,
    nn.ELU: _elu,
    nn.SELU: _selu,
    nn.CELU: _celu,
    nn.Softplus: _softplus,
    # the derivative is 1 - exp(output)
    nn.LogSigmoid: _fixed("logsigmoid", _at_least(math.log1p(-SMALL)), resting=True),
    # (1 - |s|)^2 < 1 %
    nn.Softsign: _two_sided("softsign", 0.0, 1 - math.sqrt(SMALL)),
    # the derivative tanh(x)^2 is small around zero
    nn.Tanhshrink: _fixed("tanhshrink", _within(_SHRINK), resting=True),
    nn.Softshrink: _fixed("shrink", _zero, resting=True),
    nn.Hardshrink: _fixed("shrink", _zero, resting=True),
    nn.Threshold: _threshold,
    nn.GELU: _gelu_rule,
    nn.SiLU: _input("silu", _silu, _LARGEST_SILU),
    nn.Mish: _input("mish", _mish, _LARGEST_MISH),
    nn.Hardswish: _input("hardswish", _hardswish, 1.5),
}
