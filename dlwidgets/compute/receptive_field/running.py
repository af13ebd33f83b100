"""Running a user's model under the recorder, and leaving it as it was."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_map

from ..observe import Eagerly, after_own_hooks, attributes_kept, contents_kept, forwards
from ..randomness import OwnDraws
from .capture import DataSetter, Recorder, Traced
from .graph import Call, Run, Value, leaves


def first_tensor(output: Any, depth: int = 0) -> Tensor | None:
    """The first tensor inside nested tuples, lists, mappings and dataclasses."""
    if isinstance(output, Tensor):
        return output
    items: Any = ()
    if isinstance(output, Mapping):
        items = output.values()
    elif isinstance(output, (tuple, list)):
        items = output
    elif is_dataclass(output) and not isinstance(output, type):
        items = [getattr(output, item.name, None) for item in fields(output)]
    if depth > 20:
        return None
    return next((found for item in items if (found := first_tensor(item, depth + 1)) is not None), None)


def record(model: nn.Module, arguments: tuple[Any, ...]) -> Run:
    """One recorded run: without numbers if the model allows that, else with them. These may be written to behind the
    recorder's back, through ``.data``.

    Raises ValueError, with the model's own error as its cause, if the model cannot run on ``arguments``.
    """
    problems: list[Exception] = []
    for real in (False, True):
        try:
            with contents_kept([*model.parameters(), *model.buffers()] if real else []):
                return _record(model, arguments, real)
        except Exception as error:
            problems.append(error)
    try:
        return _shapes_only(model, arguments, problems[-1])
    except Exception as error:
        shapes = [tuple(item.shape) for item in arguments if isinstance(item, Tensor)]
        raise ValueError(
            f"model cannot run on example of shape {shapes[0] if shapes else '()'}: "
            f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        ) from error


class Calls:
    """The calls of a model's modules, in the order in which they end, by global hooks on this thread."""

    def __init__(self, model: nn.Module, value_of: Any) -> None:
        self.names = {id(module): name for name, module in reversed(list(model.named_modules()))}
        self.value_of = value_of
        self.thread = threading.get_ident()
        self.calls: list[Call] = []
        self.counts: dict[str, int] = {}
        self.open: list[tuple[int, int, int]] = []
        self.num_entered = 0

    @contextmanager
    def watching(self, model: nn.Module) -> Iterator[None]:
        """Note the calls inside. A module with hooks of its own is seen after them, as they may replace its output."""
        hooked = [module for module in model.modules() if module._forward_hooks]
        own = {id(module) for module in hooked}

        def after(module: nn.Module, args: Any, output: Any) -> None:
            if id(module) not in own:
                self.after(module, args, output)

        with forwards(self.before, after), after_own_hooks(hooked, self.after):
            yield

    def _ours(self, module: nn.Module) -> bool:
        return id(module) in self.names and threading.get_ident() == self.thread

    def before(self, module: nn.Module, args: Any) -> None:  # noqa: ARG002
        """A module is entered."""
        if self._ours(module):
            self.num_entered += 1
            name = self.names[id(module)]
            call = self.counts.get(name, 0)
            self.counts[name] = call + 1
            self.open.append((id(module), call, self.num_entered))

    def after(self, module: nn.Module, args: Any, output: Any) -> None:  # noqa: ARG002
        """A module is left."""
        if not self._ours(module):
            return
        while self.open:
            entered, call, number = self.open.pop()
            if entered == id(module):
                break
        else:
            return
        tensor = first_tensor(output)
        if tensor is None:
            return
        name = self.names[entered]
        self.calls.append(Call(name, call, type(module).__name__, self.value_of(tensor), number == self.num_entered))


@contextmanager
def versions_kept(tensors: list[Tensor]) -> Iterator[None]:
    """Afterwards autograd's count of writes is as before: it counts one before the recorder can turn it aside."""
    keeper = torch.autograd._unsafe_preserve_version_counter
    versions = [(tensor, tensor._version, keeper(tensor)) for tensor in tensors if not tensor.is_inference()]
    try:
        yield
    finally:
        for tensor, version, kept in versions:
            if tensor._version != version:
                kept.__exit__()


@contextmanager
def quiet(model: nn.Module, arguments: tuple[Any, ...]) -> Iterator[None]:
    """No gradients, no fused fast paths, and afterwards everything as before."""
    mkldnn, fastpath = torch._C._get_mkldnn_enabled(), torch.backends.mha.get_fastpath_enabled()
    eagerly = Eagerly()
    tensors = [item for item in leaves(arguments) if isinstance(item, Tensor)]
    # In inference mode torch takes no op apart, and fused attention hides its scores: neither can be followed.
    with (
        torch.inference_mode(False),
        attributes_kept(model),
        versions_kept([*model.parameters(), *model.buffers(), *tensors]),
        torch.no_grad(),
        sdpa_kernel(SDPBackend.MATH),
    ):
        torch._C._set_mkldnn_enabled(False)
        torch.backends.mha.set_fastpath_enabled(False)
        eagerly.start()
        try:
            yield
        finally:
            eagerly.stop()
            torch.backends.mha.set_fastpath_enabled(fastpath)
            torch._C._set_mkldnn_enabled(mkldnn)


def _record(model: nn.Module, arguments: tuple[Any, ...], real: bool) -> Run:
    """A recorded run. If it draws random numbers of Python or numpy, nothing is known."""
    once = partial(_record_once, model, arguments, real)
    with OwnDraws(once) as draws:
        try:
            run = once()
        finally:
            draws.put_back()
    if draws.shared & {"numpy", "python"}:
        # Which way the code went may depend on draws that no graph shows.
        run.broken = 0, "random numbers of Python or numpy"
    return run


def _record_once(model: nn.Module, arguments: tuple[Any, ...], real: bool) -> Run:
    recorder = Recorder(list(model.parameters()), list(model.buffers()), real)
    entered: list[Traced] = []

    def enter(item: Any) -> Any:
        if isinstance(item, Tensor):
            entered.append(recorder.enter(item, depends=not entered))
            return entered[-1]
        return item

    given = tree_map(enter, arguments)
    value = entered[0].value
    assert isinstance(value, Value)

    def value_of(tensor: Tensor) -> Value:
        found = recorder.current(tensor)
        if isinstance(found, Value):
            return found
        # Behind a leak a constant may be made of numbers that leaked.
        time = len(recorder.nodes) + (recorder.broken is not None)
        return Value(tuple(found.shape), found.dtype, None, 0, time)

    calls = Calls(model, value_of)
    with quiet(model, arguments), calls.watching(model), DataSetter(recorder), recorder:
        output = model(*given)
    tensor = first_tensor(output)
    if tensor is None:
        raise TypeError(f"the model returned {type(output).__name__} without a tensor in it")
    return Run(value, value.shape, value_of(tensor), recorder.nodes, calls.calls, recorder.broken)


def _shapes_only(model: nn.Module, arguments: tuple[Any, ...], why: Exception) -> Run:
    """A plain run on copies, for models that cannot be recorded: the shapes of the outputs and nothing else."""
    from copy import deepcopy

    copy = deepcopy(model)
    given = tree_map(lambda item: item.detach().clone() if isinstance(item, Tensor) else item, arguments)
    tensors = [item for item in given if isinstance(item, Tensor)]
    entered = Value(tuple(tensors[0].shape), tensors[0].dtype, None, 0, 0)
    entered.depends = True

    def value_of(tensor: Tensor) -> Value:
        return Value(tuple(tensor.shape), tensor.dtype, None, 0, 1)

    def run_copy() -> tuple[Any, list[Call]]:
        calls = Calls(copy, value_of)
        with quiet(copy, given), calls.watching(copy):
            return copy(*given), calls.calls

    with OwnDraws(run_copy) as draws:
        try:
            output, seen = run_copy()
        finally:
            draws.put_back()
    tensor = first_tensor(output)
    if tensor is None:
        raise TypeError(f"the model returned {type(output).__name__} without a tensor in it")
    reason = f"{type(why).__name__} while recording: {(str(why).splitlines() or [''])[0]}"
    return Run(entered, entered.shape, value_of(tensor), [], seen, (0, reason))
