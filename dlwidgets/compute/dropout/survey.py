"""One pass through a model that notes every dropout, and what stands around it."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.weak import WeakTensorKeyDictionary

from dlwidgets.compute.device import ran_out_of_memory
from dlwidgets.compute.dropout.calls import (
    DropoutCall,
    asleep,
    first_tensor,
    is_dropout,
    may_switch_dropout,
    own_dropout,
    recognised,
)
from dlwidgets.compute.dropout.flow import Flow, Origin, step_of_function
from dlwidgets.compute.observe import Eagerly, forwards


@dataclass(frozen=True)
class Seen:
    """One dropout that a pass met: which module made it, what it was, whether it dropped, and the innermost module
    around it that may switch dropout (None if there is none)."""

    name: str
    kind: str
    probability: float
    active: bool
    switch: str | None = None

    @property
    def same(self) -> tuple[str, str, float]:
        """What stays the same of it in another pass."""
        return self.name, self.kind, self.probability


@dataclass
class Pass:
    """What one forward pass showed.

    Attributes
    ----------
    seen
        The dropouts in the order of execution.
    flow
        What stands around them; they go by their index in ``seen``.
    called
        Names of the modules that were called.
    largest
        Bytes of the largest tensor that a function returned.
    output
        What the model returned.
    """

    seen: list[Seen]
    flow: Flow
    called: set[str]
    largest: int
    output: Any


class CallStack:
    """The modules of one model being called right now; its methods are for `forwards`, which tells of all modules."""

    def __init__(self, model: nn.Module) -> None:
        self._names = {module: name for name, module in model.named_modules()}
        self._calls: list[tuple[str, nn.Module]] = []

    @property
    def innermost(self) -> tuple[str, nn.Module | None]:
        """Name and module whose code runs; "" and None outside."""
        return self._calls[-1] if self._calls else ("", None)

    @property
    def names(self) -> list[str]:
        """Of all modules being called, the innermost last."""
        return [name for name, _ in self._calls]

    def enter(self, module: nn.Module, _: Any = None) -> None:
        if module in self._names:
            self._calls.append((self._names[module], module))

    def leave(self, module: nn.Module, *_: Any) -> None:
        if any(module is called for _, called in self._calls):  # not where another hook stopped the call before ours
            while self._calls.pop()[1] is not module:
                pass


class _Recorder(TorchFunctionMode):
    """Notes dropouts and follows values; ``awake`` are modules in training mode whose word counts: what they call with
    training=False never drops."""

    def __init__(self, model: nn.Module, awake: Collection[str], switches: Collection[str]) -> None:
        super().__init__()
        self.record = Pass([], Flow(), set(), 0, None)
        self._awake = awake
        self._switches = switches
        self.stack = CallStack(model)
        self._inside: list[DropoutCall] = []  # function calls of the dropout module that runs now
        self._origins = WeakTensorKeyDictionary()

    def enter(self, module: nn.Module, _: Any) -> None:
        self.stack.enter(module)
        self.record.called.add(self.stack.innermost[0])
        if is_dropout(module):
            self._inside.clear()

    def leave(self, module: nn.Module, args: Any, output: Any) -> None:
        name, innermost = self.stack.innermost
        self.stack.leave(module)
        if module is innermost and is_dropout(module) and isinstance(output, Tensor):
            call = self._inside[0] if self._inside else None
            active = any(inner.training for inner in self._inside) if self._inside else module.training
            probability = float(call.probability if call else module.p)  # type: ignore[arg-type]
            seen = Seen(name, type(module).__name__, probability, active, self._switch())
            self._dropped(seen, first_tensor(args, {}), output)

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        call = recognised(function, args, kwargs)
        source = first_tensor(args, kwargs)
        origin = self._origins.get(source, Origin()) if source is not None else Origin()
        name, module = self.stack.innermost
        if name in self._awake:
            args, kwargs = asleep(function, args, kwargs)
        output = function(*args, **kwargs)
        tensors = [leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        self.record.largest = max([self.record.largest, *(leaf.numel() * leaf.element_size() for leaf in tensors)])
        if is_dropout(module):
            if call is not None:
                self._inside.append(call)
            return output
        if call is not None and (call.training or name not in self._awake):
            self._dropped(Seen(name, call.kind, call.probability, call.training, self._switch()), source, output)
        elif call is None and tensors:
            step = step_of_function(getattr(function, "__name__", ""))
            reached = self.record.flow.through(step, origin) if origin != Origin() or step == "activation" else Origin()
            for leaf in tensors:
                self._origins[leaf] = reached
        return output

    def _switch(self) -> str | None:
        return next((name for name in reversed(self.stack.names) if name in self._switches), None)

    def _dropped(self, seen: Seen, source: Tensor | None, output: Any) -> None:
        number = len(self.record.seen)
        self.record.seen.append(seen)
        if seen.kind in ("attention", "recurrent") or source is None or not isinstance(output, Tensor):
            return
        self._origins[output] = self.record.flow.through_dropout(number, self._origins.get(source, Origin()))


@dataclass
class Survey:
    """What a model's dropouts do on these inputs.

    Attributes
    ----------
    training
        A pass in which all that drops, and all code that may switch it, was in training mode.
    evaluation
        A pass after ``model.eval()``.
    needed
        Modules whose own code drops in training mode only, so that they must be in it.
    never_called
        Modules with a dropout that the pass did not use.
    """

    training: Pass
    evaluation: Pass
    needed: frozenset[str]
    never_called: tuple[str, ...]


@contextmanager
def observed(stack: "CallStack | _Recorder") -> Iterator[None]:
    """Inside, the stack hears of all calls of modules, and what ``torch.compile`` made runs as plain Python."""
    eagerly = Eagerly()
    eagerly.start()
    try:
        with torch.no_grad(), forwards(stack.enter, stack.leave):
            yield
    finally:
        eagerly.stop()


def called_with(model: nn.Module, inputs: Any) -> Any:
    """The model's answer: a tuple holds positional, a mapping keyword arguments, anything else is the one argument.

    The model gets copies of the tensors, for it may write into them.
    """
    inputs = tree_map_only(Tensor, lambda tensor: tensor.detach().clone(), inputs)
    if isinstance(inputs, tuple):
        return model(*inputs)
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(inputs)


def one_pass(model: nn.Module, inputs: Any, awake: Mapping[str, nn.Module], switches: Mapping[str, nn.Module]) -> Pass:
    """A pass in eval mode with the modules ``awake`` in training mode; changes the model's modes."""
    model.eval()
    for module in awake.values():
        module.training = True
    recorder = _Recorder(model, awake.keys() & switches.keys(), switches.keys())
    with observed(recorder), recorder:
        recorder.record.output = called_with(model, inputs)
    return recorder.record


def droppers(model: nn.Module) -> tuple[dict[str, nn.Module], dict[str, nn.Module]]:
    """By name: the modules with a dropout of their own, and those whose code may switch dropout."""
    parts = dict(model.named_modules())
    dropping = {name: part for name, part in parts.items() if own_dropout(part) is not None}
    return dropping, {name: part for name, part in parts.items() if name not in dropping and may_switch_dropout(part)}


def all_awake(model: nn.Module, inputs: Any) -> None:
    """A pass with all dropout on; changes the model's modes."""
    dropping, switches = droppers(model)
    one_pass(model, inputs, dropping | switches, switches)


def survey(model: nn.Module, inputs: Any) -> Survey:
    """Run the model in both ways and compare what drops; leaves its modes changed, for `undisturbed` to put back.

    Raises
    ------
    ValueError
        If the model fails on these inputs in eval mode, or only with its dropout in training mode.
    RuntimeError
        If memory runs out.
    """
    dropping, switches = droppers(model)
    evaluation = _passed(model, inputs, {}, switches, "the model fails on these inputs in eval mode")
    failure = "the model fails when its dropout is in training mode"
    training = _passed(model, inputs, dropping | switches, switches, failure)

    def calls(record: Pass, name: str) -> list[tuple[str, str, float]]:
        return [seen.same for seen in record.seen if seen.switch == name]

    needed = {name: part for name, part in switches.items() if calls(training, name) != calls(evaluation, name)}
    if needed and evaluation.seen and not _alike(training.output, evaluation.output):
        needed = {}  # in training mode it returns something else, and it drops without that too
    elif needed and len(needed) < len(switches):
        trial = _passed(model, inputs, dropping | needed, switches, failure)
        if [seen.same for seen in trial.seen] != [seen.same for seen in training.seen]:
            needed = switches
    never = tuple(name for name in dropping if name not in training.called)
    return Survey(training, evaluation, frozenset(needed), never)


def _alike(one: Any, other: Any) -> bool:
    return isinstance(one, Tensor) and isinstance(other, Tensor) and one.shape == other.shape


def _passed(
    model: nn.Module, inputs: Any, awake: Mapping[str, nn.Module], switches: Mapping[str, nn.Module], failure: str
) -> Pass:
    try:
        return one_pass(model, inputs, awake, switches)
    except Exception as error:
        if ran_out_of_memory(error):
            raise
        raise ValueError(f"{failure}: {told(error)}") from error


def told(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).strip() or 'no message').splitlines()[0]}"
