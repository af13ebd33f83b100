"""What a unit of a small network can see, found by trying: an oracle that shares nothing with the engine.

An input position belongs to the field of a unit if, for *some* finite weights and inputs, a change there changes the
unit. So: draw weights and inputs, change one position, run again, compare; many draws, the union of what changed. The
union never holds too much, and with enough draws misses nothing that a small network can show:

- `Oracle.perturb` changes one position at a time by small and huge amounts (max pooling, argmax, sign, integer inputs);
- `Oracle.differentiate` adds the positions whose gradient is not zero;
- `Oracle.poison` is the opposite bound: what a NaN at the position reaches, more than the truth where NaN spreads.

Every floating-point Parameter is replaced by fresh numbers at each use (`FreeParameters`), so that weights used twice
are independent; buffers and constants keep their values; random draws inside the model are seeded per draw. Everything
runs in float64 on a freshly built copy of the model. Sample 0 of the batch is the one whose positions change.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields, is_dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Target = tuple[str, int] | None
"""Which output: None for the model's own, else (module name, call index)."""

NOT_VALUES = {"size", "dim", "numel", "stride", "__set__", "is_floating_point", "is_complex", "__len__", "__hash__"}


def randn_inputs(shape: Sequence[int]) -> Callable[[torch.Generator], tuple[Any, ...]]:
    """Draws one normal tensor of ``shape``, the argument of most models here."""
    return lambda generator: (torch.randn(*shape, generator=generator),)


@dataclass(frozen=True, eq=False)
class Case:
    """A model to examine: how to build it, how to draw its arguments, and what the oracle may conclude.

    ``build`` must give the same structure and buffers each time. ``draw`` returns the positional arguments, the input
    first. ``axes`` and ``output_axes`` are handed to the engine as they are. ``spreads_nan``: every op on the way lets
    NaN pass. ``differentiable``: the gradient is that of the forward. ``cancels``: paths cancel, so that what the
    engine rightly calls exact (in the per-use sense) may hold more than any run can show. ``draws``: how often to try
    before a position counts as unseen. ``reach``: the largest change tried. ``decidable``: False where the structure
    depends on the data, so that "bound" is an honest answer. ``shared_weights``: draw the weights once a draw, not once
    a use (for models that write into them).
    """

    name: str
    build: Callable[..., nn.Module]
    draw: Callable[[torch.Generator], tuple[Any, ...]]
    axes: tuple[int, ...] | None = None
    output_axes: tuple[int, ...] | None = None
    train: bool = False
    spreads_nan: bool = True
    differentiable: bool = True
    cancels: bool = False
    draws: int = 60
    reach: float = 1e3
    decidable: bool = True
    shared_weights: bool = False

    def model(self) -> nn.Module:
        """The model, built anew from a fixed seed, in the mode in which it is examined."""
        with fixed_seed(0):
            return self.build().train(self.train)

    def arguments(self, seed: int = 0) -> tuple[Any, ...]:
        """The positional arguments of draw ``seed``."""
        return self.draw(torch.Generator().manual_seed(seed))


@contextmanager
def fixed_seed(seed: int) -> Iterator[None]:
    """Seed torch, numpy and Python inside; give every generator back as it was."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    # Not torch.manual_seed: with no GPU it formats a stack trace each time.
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])


@contextmanager
def double_precision() -> Iterator[None]:
    """float64 wherever a model makes a tensor of the default type."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def first_tensor(output: Any) -> Tensor | None:
    """The first tensor inside nested tuples, lists, dicts, dataclasses."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        items: Any = output.values()
    elif isinstance(output, (tuple, list)):
        items = output
    elif is_dataclass(output):
        items = [getattr(output, field.name) for field in fields(output)]
    else:
        return None
    return next((found for item in items if (found := first_tensor(item)) is not None), None)


class FreeParameters(TorchFunctionMode):
    """Hands fresh random numbers to every use of a floating-point Parameter: the same ones in each run of one draw."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)
        self.scale = (1.0, 0.3, 3.0)[seed % 3]
        # Positive weights let a signal pass rectifiers that a random sign would close.
        self.positive = seed % 4 == 3
        self.values: list[Tensor] = []
        self.num_uses = 0

    def restart(self) -> None:
        """Begin another run with the same numbers."""
        self.num_uses = 0

    def value(self, parameter: Tensor) -> Tensor:
        """The numbers for the next use."""
        use, self.num_uses = self.num_uses, self.num_uses + 1
        if use == len(self.values):
            draw = torch.randn(parameter.shape, generator=self.generator) * self.scale
            self.values.append(draw.abs() if self.positive else draw)
        if self.values[use].shape != parameter.shape:
            return torch.full(parameter.shape, self.scale)
        return self.values[use].to(parameter.dtype).clone()

    def replace(self, item: Any) -> Any:
        """``item`` with every Parameter in it replaced."""
        if isinstance(item, nn.Parameter) and item.dtype.is_floating_point:
            return self.value(item)
        if type(item) in (tuple, list):
            return type(item)(self.replace(part) for part in item)
        return item

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        kwargs = kwargs or {}
        property_read = name == "__get__" and getattr(func, "__self__", None) not in (Tensor.data, Tensor.T, Tensor.mT)
        if not property_read and name not in NOT_VALUES:
            args = tuple(self.replace(item) for item in args)
            kwargs = {key: self.replace(item) for key, item in kwargs.items()}
        return func(*args, **kwargs)


class Oracle:
    """The relation between input positions and units of one case, as far as the draws have shown it.

    ``reached[target]`` is a bool tensor (*input positions, *shape of the output): a change at that position changed
    that number in some run. ``poisoned[target]``: the same for NaN.
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        self.num_draws = 0
        shape = case.arguments()[0].shape
        self.axes = tuple(range(2, len(shape))) if case.axes is None else tuple(axis % len(shape) for axis in case.axes)
        self.num_dims = len(shape)
        self.sizes = tuple(shape[axis] for axis in self.axes)
        self.reached: dict[Target, Tensor] = {}
        self.poisoned: dict[Target, Tensor] = {}
        self._outputs: dict[Target, Tensor] = {}
        self._num_calls: dict[str, int] = {}
        with double_precision():
            self.model = case.model().double()
        self._buffers = {name: buffer.clone() for name, buffer in self.model.named_buffers()}
        for name, module in self.model.named_modules():
            if name and not isinstance(module, torch.jit.ScriptModule):
                module.register_forward_hook(self._recorder(name))

    def _recorder(self, name: str) -> Callable[[nn.Module, Any, Any], None]:
        def record(module: nn.Module, args: Any, output: Any) -> None:
            call = self._num_calls.get(name, 0)
            self._num_calls[name] = call + 1
            tensor = first_tensor(output)
            if tensor is not None and not torch._C._functorch.is_functorch_wrapped_tensor(tensor):
                # A copy: the next layer may write into its input.
                self._outputs[name, call] = tensor.detach().clone()

        return record

    def index(self, position: Sequence[int]) -> tuple[int | slice, ...]:
        """Where ``position`` of sample 0 lies in the input tensor, all channels."""
        index: list[int | slice] = [slice(None)] * self.num_dims
        if 0 not in self.axes:
            index[0] = 0
        for axis, start in zip(self.axes, position, strict=True):
            index[axis] = start
        return tuple(index)

    def arguments(self, seed: int) -> tuple[Any, ...]:
        """The arguments of draw ``seed`` in float64."""
        with double_precision():
            drawn = self.case.arguments(seed)
        # A Parameter given as input is data, not a weight.
        plain = [item.detach().as_subclass(Tensor) if isinstance(item, Tensor) else item for item in drawn]
        return tuple(item.double() if isinstance(item, Tensor) and item.is_floating_point() else item for item in plain)

    def run(self, arguments: tuple[Any, ...], parameters: FreeParameters) -> dict[Target, Tensor]:
        """All outputs of one run, from the same buffers and random numbers each time."""
        with torch.no_grad():
            for name, buffer in self.model.named_buffers():
                buffer.copy_(self._buffers[name])
        self._outputs, self._num_calls = {}, {}
        parameters.restart()
        if self.case.shared_weights:
            for parameter in self.model.parameters():
                parameter.data = parameters.value(parameter)
        free = nullcontext() if self.case.shared_weights else parameters
        with double_precision(), fixed_seed(self.num_draws), free:
            # Models may write into their input.
            output = first_tensor(self.model(*(a.clone() if isinstance(a, Tensor) else a for a in arguments)))
        assert output is not None, f"{self.case.name}: no tensor came out"
        return {None: output, **self._outputs}

    def _union(self, known: dict[Target, Tensor], target: Target, position: tuple[int, ...], new: Tensor) -> None:
        relation = known.get(target)
        if relation is None:
            relation = known[target] = torch.zeros(*self.sizes, *new.shape, dtype=torch.bool)
        relation[position] |= new

    @torch.no_grad()
    def perturb(self) -> None:
        """One more draw: change every position in turn, twice, and add what changed to ``reached``."""
        self.num_draws += 1
        seed = 1000 * self.num_draws
        parameters = FreeParameters(self.num_draws)
        arguments = self.arguments(seed)
        base = self.run(arguments, parameters)
        again = self.run(arguments, parameters)
        for target, output in base.items():
            assert torch.equal(output.nan_to_num(), again[target].nan_to_num()), (
                f"{self.case.name}: two equal runs differ at {target}; the oracle cannot tell a change from noise"
            )
        exponents = torch.rand(2, generator=torch.Generator().manual_seed(seed))
        sizes = 10.0 ** (exponents * (np.log10(self.case.reach) + 1) - 1) * (-1) ** self.num_draws
        for part, size in enumerate(sizes.tolist()):
            other = self.arguments(seed + 1 + part)[0]
            if other.is_floating_point():
                other = other * size
            for position in product(*map(range, self.sizes)):
                changed = arguments[0].clone()
                changed[self.index(position)] = other[self.index(position)]
                for target, output in self.run((changed, *arguments[1:]), parameters).items():
                    before = base.get(target)
                    if before is None:
                        continue
                    if before.shape != output.shape:
                        difference = torch.ones(before.shape, dtype=torch.bool)
                    else:
                        difference = (before != output) & before.isfinite() & output.isfinite()
                    self._union(self.reached, target, position, difference)

    def differentiate(self, unit: Sequence[int], num_draws: int = 2) -> Tensor:
        """Positions with a gradient from a unit of the model's output (all channels): bool over the input axes."""
        seen = torch.zeros(self.sizes, dtype=torch.bool)
        for draw in range(num_draws):
            arguments = self.arguments(7000 + draw)
            if not arguments[0].is_floating_point():
                break
            leaf = arguments[0].requires_grad_()
            output = self.run((leaf, *arguments[1:]), FreeParameters(100 + draw))[None]
            chosen = self.select(output, unit, None, self.output_axes(None, self.case.output_axes))
            if not chosen.requires_grad:
                break
            weights = torch.randn(chosen.shape, generator=torch.Generator().manual_seed(draw), dtype=torch.float64)
            (gradient,) = torch.autograd.grad((chosen * weights).sum().real, leaf, allow_unused=True)
            if gradient is not None:
                # A weight that is zero but for rounding is zero.
                moved = (gradient.abs() > 1e-12 * gradient.abs().max()) & gradient.isfinite()
                moved = moved if 0 in self.axes else moved[:1]
                seen |= self._over_axes(moved)
        return seen

    def _over_axes(self, tensor: Tensor) -> Tensor:
        """Any over every axis of an input-shaped tensor that is not one of positions."""
        rest = [axis for axis in range(self.num_dims) if axis not in self.axes]
        order = [*self.axes, *rest]
        return tensor.permute(order).flatten(len(self.axes)).any(-1).reshape(self.sizes)

    @torch.no_grad()
    def poison(self) -> None:
        """One run per position with NaN there; fills ``poisoned``."""
        parameters = FreeParameters(1)
        arguments = self.arguments(1000)
        base = self.run(arguments, parameters)
        for position in product(*map(range, self.sizes)):
            changed = arguments[0].clone()
            changed[self.index(position)] = float("nan")
            for target, output in self.run((changed, *arguments[1:]), parameters).items():
                self._union(self.poisoned, target, position, output.isnan() | base[target].isnan())

    def output_axes(self, target: Target, given: tuple[int, ...] | None) -> tuple[int, ...]:
        """The axes of positions of an output, by the rule of the public interface."""
        num_dims = len(self.shape(target))
        if given is not None:
            return tuple(axis % num_dims for axis in given)
        return self.axes if num_dims == self.num_dims else tuple(range(2, num_dims))

    def shape(self, target: Target) -> tuple[int, ...]:
        """The shape of an output."""
        if not self.reached:
            self.perturb()
        return tuple(self.reached[target].shape[len(self.sizes) :])

    def unit_sizes(self, target: Target, given: tuple[int, ...] | None = None) -> tuple[int, ...]:
        """How many units an output has along each of its axes of positions."""
        shape = self.shape(target)
        return tuple(shape[axis] for axis in self.output_axes(target, given))

    @staticmethod
    def select(
        tensor: Tensor, unit: Sequence[int], channel: int | None, axes: tuple[int, ...], leading: int = 0
    ) -> Tensor:
        """The numbers of ``tensor`` that make up a unit: sample 0, one channel or all, after ``leading`` other axes."""
        num_dims = tensor.dim() - leading
        index: list[int | slice] = [slice(None)] * num_dims
        if num_dims and 0 not in axes:
            index[0] = 0
        for axis, start in zip(axes, unit, strict=True):
            index[axis] = start
        if channel is not None:
            index[next(axis for axis in range(1, num_dims) if axis not in axes)] = channel
        return tensor[(slice(None),) * leading + tuple(index)]

    def field(
        self, target: Target, unit: Sequence[int], channel: int | None = None, given: tuple[int, ...] | None = None
    ) -> Tensor:
        """The positions that reached a unit so far: bool over the input axes."""
        axes, leading = self.output_axes(target, given), len(self.sizes)
        chosen = self.select(self.reached[target], unit, channel, axes, leading)
        return chosen.flatten(leading).any(-1) if chosen.dim() > leading else chosen

    def projection(
        self, target: Target, pixel: Sequence[int], channel: int | None = None, given: tuple[int, ...] | None = None
    ) -> Tensor:
        """The units that a position reached so far: bool over the output axes."""
        axes = self.output_axes(target, given)
        units = product(*map(range, self.unit_sizes(target, given)))
        relation = self.reached[target][tuple(pixel)]
        flat = [self.select(relation, unit, channel, axes).any().item() for unit in units]
        return torch.tensor(flat, dtype=torch.bool).reshape(self.unit_sizes(target, given))


def tight_box(mask: Tensor) -> tuple[tuple[int, int], ...] | None:
    """The smallest (start, stop) per axis around what is True; None when nothing is."""
    if not mask.any():
        return None
    hits = mask.nonzero()
    return tuple((int(low), int(high) + 1) for low, high in zip(hits.amin(0), hits.amax(0), strict=True))


def photograph(model: nn.Module, arguments: Sequence[Any] = ()) -> dict[str, Any]:
    """Everything that observing a model must leave as it was, in a form that compares bit by bit."""

    def contents(tensor: Tensor | None) -> Any:
        if tensor is None:
            return None
        grad = tensor.grad if tensor.is_leaf else None
        data = tensor.detach().contiguous().view(-1).view(torch.uint8) if tensor.dim() else tensor.detach().reshape(1)
        return (
            id(tensor),
            tensor._version,
            tensor.requires_grad,
            str(tensor.dtype),
            tuple(tensor.shape),
            data.view(torch.uint8).numpy().tobytes(),
            contents(grad),
        )

    def members(module: nn.Module) -> Any:
        return {
            key: [id(item) for item in value.values()] if isinstance(value, dict) else id(value)
            for key, value in vars(module).items()
        }

    global_hooks = [
        (name, [id(hook) for hook in value.values()])
        for name, value in vars(torch.nn.modules.module).items()
        if name.startswith("_global") and isinstance(value, dict)
    ]
    return {
        "parameters": {name: contents(item) for name, item in model.named_parameters()},
        "buffers": {name: contents(item) for name, item in model.named_buffers()},
        "arguments": [contents(item) for item in arguments if isinstance(item, Tensor)],
        "mode": {name: module.training for name, module in model.named_modules()},
        "members": {name: members(module) for name, module in model.named_modules()},
        "global hooks": global_hooks,
        "torch RNG": torch.get_rng_state().numpy().tobytes(),
        "numpy RNG": [part.tobytes() if isinstance(part, np.ndarray) else part for part in np.random.get_state()],  # noqa: NPY002
        "python RNG": random.getstate(),
        "grad mode": torch.is_grad_enabled(),
        "default dtype": torch.get_default_dtype(),
    }
