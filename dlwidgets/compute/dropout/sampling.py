"""Forward passes in which nothing but the dropout is in training mode, many at once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch._C._functorch import is_batchedtensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from dlwidgets.compute.device import ran_out_of_memory
from dlwidgets.compute.dropout.calls import RECURRENT, Argument, asleep, own_dropout, recognised
from dlwidgets.compute.dropout.survey import CallStack, called_with, observed, told
from dlwidgets.compute.observe import attributes_kept
from dlwidgets.compute.randomness import OwnDraws

CHUNK_BYTES = 2**27  # of the tensors that live at once while a chunk runs, roughly
_LIVE_TENSORS = 4  # of the largest size, at one time


_SOURCE = Argument(0, ("input", "query"))  # from what a dropout function drops


class _NotPerSample(Exception):
    """The value to be overwritten is shared by all samples."""


class _Recurrent(torch.autograd.Function):
    """A recurrent layer that vmap can map: torch has no rule for it, but the samples can join its batch axis."""

    generate_vmap_rule = False

    @staticmethod
    def forward(function: Callable, settings: tuple[Any, ...], num_states: int, *tensors: Tensor) -> Any:
        states = tensors[1] if num_states == 1 else tensors[1 : 1 + num_states]
        return function(tensors[0], states, list(tensors[1 + num_states :]), *settings)

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        pass

    @staticmethod
    def vmap(info: Any, in_dims: Any, function: Callable, settings: Any, num_states: int, *tensors: Tensor) -> Any:
        count = info.batch_size
        dims = in_dims[3:]
        if any(dim is not None for dim in dims[1 + num_states :]):
            raise NotImplementedError("recurrent weights that differ between samples")
        axes = [0 if settings[-1] else 1, *[1] * num_states]  # batch_first holds for the input, never for the state

        def joined(tensor: Tensor, dim: int | None, axis: int) -> Tensor:
            each = tensor.movedim(dim, axis) if dim is not None else _repeated(tensor, count, axis)
            return each.flatten(axis, axis + 1)

        front = [joined(tensor, dim, axis) for tensor, dim, axis in zip(tensors, dims, axes, strict=False)]
        outputs = _Recurrent.apply(function, settings, num_states, *front, *tensors[1 + num_states :])
        apart = tuple(
            output.unflatten(axis, (count, output.shape[axis] // count)).movedim(axis, 0)
            for output, axis in zip(outputs, axes, strict=True)
        )
        return apart, (0,) * len(apart)


def _repeated(tensor: Tensor, count: int, axis: int) -> Tensor:
    return tensor.unsqueeze(axis).expand(*tensor.shape[:axis], count, *tensor.shape[axis:])


class _DropoutAwake(TorchFunctionMode):
    """Turns dropout functions on, sets their probability, and gives every sample its own mask.

    ``one`` is the number 1 for every sample of a vmap, None outside of one: what is multiplied by it is no longer
    shared by the samples, bit for bit the same otherwise.
    """

    def __init__(self, stack: CallStack, probability: float | None, one: Tensor | None) -> None:
        super().__init__()
        self._stack = stack
        self._probability = probability
        self._one = one

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        call = recognised(function, args, kwargs)
        module = self._stack.innermost[1]
        if call is None:
            if module is not None and module.training:
                args, kwargs = asleep(function, args, kwargs)
        else:
            # A module that was left in eval mode says so in the call; one that was woken is obeyed.
            training = call.training or module is None or not module.training
            probability = call.probability if self._probability is None else self._probability
            if training and 0 < probability < 1:
                if self._one is not None:
                    args, kwargs = self._apart(args, kwargs, call.in_place)
                if call.kind == "F.dropout":
                    return _dropped(_SOURCE.get(args, kwargs), probability, call.in_place)
            args, kwargs = call.rewritten(args, kwargs, probability, training)
        if self._one is not None and getattr(function, "__name__", "") in RECURRENT and not isinstance(args[1], list):
            return _recurrent(function, args)
        return function(*args, **kwargs)

    def _apart(self, args: tuple[Any, ...], kwargs: dict[str, Any], in_place: bool) -> tuple[tuple[Any, ...], dict]:
        """The arguments, with the tensor from which is dropped no longer shared by the samples."""
        source = _SOURCE.get(args, kwargs)
        if is_batchedtensor(source):
            return args, kwargs
        if in_place:
            raise _NotPerSample
        return _SOURCE.put(args, kwargs, per_sample(source, self._one))


def _dropped(x: Tensor, p: float, in_place: bool) -> Tensor:
    """What torch.dropout does, several times faster on a CPU, where drawing Bernoulli variables takes most of its time.

    Uniform numbers of 24 bits: the chance is p up to 6e-8.
    """
    keep = torch.rand_like(x, dtype=torch.float32) >= p
    noise = keep.to(x.dtype) * (1 / (1 - p))
    return x.mul_(noise) if in_place else x * noise


def _recurrent(function: Callable, args: tuple[Any, ...]) -> Any:
    """A call of torch.lstm and its like, (input, state or states, weights, ...); the one for packed sequences has the
    weights later and is called as it is."""
    if not isinstance(args[2], (list, tuple)) or not isinstance(args[3], bool):
        return function(*args)
    states = args[1] if isinstance(args[1], (list, tuple)) else (args[1],)
    return _Recurrent.apply(function, args[3:], len(states), args[0], *states, *args[2])


def per_sample(tensor: Tensor, one: Tensor | None) -> Tensor:
    """``tensor``, no longer shared by the samples of a vmap; ``one`` is 1 for each of them."""
    if one is None:
        return tensor
    return tensor & one.bool() if tensor.dtype == torch.bool else tensor * one.to(tensor.dtype)


class Sampler:
    """Outputs of a model with its dropout on.

    Tries to let vmap run all samples of a chunk at once: first sharing what comes before the first dropout, then with
    every sample's input apart (dropout in place needs that), and if the model's code does not allow either (control
    flow that depends on values, say), one sample after the other.
    """

    def __init__(
        self,
        model: nn.Module,
        inputs: Any,
        probability: float | None,
        seed: int,
        draws: OwnDraws,
        device: torch.device,
    ) -> None:
        self._model = model
        self._inputs = inputs
        self._probability = probability
        self._seed = seed
        self._draws = draws
        self._device = device
        self._stack = CallStack(model)
        self._ways = [self._shared, self._apart, self._one_by_one]
        self._proven = False

    @contextmanager
    def awake(self, needed: frozenset[str]) -> Iterator[None]:
        """Inside, dropout modules and those named in ``needed`` are in training mode; changes modes and probabilities,
        for `undisturbed` to put back."""
        self._model.eval()
        for name, part in self._model.named_modules():
            attribute = own_dropout(part)
            part.training = attribute is not None or name in needed
            if attribute is not None and self._probability is not None:
                setattr(part, attribute, self._probability)
        with observed(self._stack):
            yield

    def samples(self, start: int, count: int) -> Tensor:
        """Outputs of the samples ``start``, ``start + 1``, ...; axis 0 counts them."""
        while True:
            way = self._ways[0]
            self._reseed(start)
            try:
                with nullcontext() if self._proven else attributes_kept(self._model):
                    outputs = way(start, count)
            except Exception as error:
                if ran_out_of_memory(error):
                    raise
                if way == self._one_by_one:
                    raise ValueError(f"the model fails when its dropout is in training mode: {told(error)}") from error
                self._ways.pop(0)
                self._proven = False
            else:
                self._proven = True
                return outputs

    def _reseed(self, *place: int) -> None:
        """Start all random generators anew, for the samples at that place: a chunk tried again draws the same."""
        state = np.random.SeedSequence((self._seed, *place)).generate_state(2)
        self._draws.seed(int(state[0]) << 31 | int(state[1]) >> 1)

    def _pass(self, inputs: Any, one: Tensor | None) -> Tensor:
        with _DropoutAwake(self._stack, self._probability, one):
            return checked_output(called_with(self._model, inputs))

    def _shared(self, _: int, count: int) -> Tensor:
        return self._mapped(count, lambda one: self._pass(self._inputs, one))

    def _apart(self, _: int, count: int) -> Tensor:
        def run(one: Tensor) -> Tensor:
            return self._pass(tree_map_only(Tensor, lambda tensor: per_sample(tensor, one), self._inputs), one)

        return self._mapped(count, run)

    def _mapped(self, count: int, run: Callable[[Tensor], Tensor]) -> Tensor:
        return torch.func.vmap(run, randomness="different")(torch.ones(count, device=self._device))

    def _one_by_one(self, start: int, count: int) -> Tensor:
        outputs = []
        for index in range(start, start + count):
            self._reseed(start, index)
            outputs.append(self._pass(self._inputs, None))
        return torch.stack(outputs)


def chunk_size(largest: int) -> int:
    """How many samples to run at once if the largest tensor of one takes that many bytes; never asks how much memory is
    free, so that a seed gives the same numbers every time."""
    return max(1, CHUNK_BYTES // max(1, _LIVE_TENSORS * largest))


def checked_output(output: Any) -> Tensor:
    """The model's output if it is one tensor of real numbers, else TypeError."""
    if not isinstance(output, Tensor):
        raise TypeError(f"the model must return one tensor, got {type(output).__name__}: wrap it in one that does")
    if not output.is_floating_point():
        raise TypeError(f"the model must return floating-point numbers, got {output.dtype}")
    return output
