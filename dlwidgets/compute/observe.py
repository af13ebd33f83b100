"""The only place that registers hooks or switches a model's mode; whatever it does here it can also take back.

Nothing in this file writes on a module, a parameter or an optimizer. Forward passes are seen through torch's *global*
module hooks and optimizer steps through its *global* step hooks, so a copy, a pickle or a ``state_dict`` taken
meanwhile knows nothing of us, and torch's fast paths that ask a module for its own hooks
(``nn.TransformerEncoderLayer`` in eval mode) go on as before. Gradients are seen at the nodes of the autograd graph,
which die with the graph: unlike full backward hooks they leave in-place operations alone.
"""

import signal
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    _global_forward_hooks_with_kwargs,
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from dlwidgets.compute.randomness import OwnDraws


class Handle(Protocol):
    """Something that was registered and can be removed; removing twice does nothing."""

    def remove(self) -> None:
        """Take it back."""


@contextmanager
def mode(model: nn.Module, training: bool) -> Iterator[None]:
    """Every module of ``model`` in train (True) or eval (False) mode inside the block, and each as it was before
    afterwards.
    """
    before = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in before:
            module.training = training
        yield
    finally:
        for module, was in before:
            module.training = was


@contextmanager
def forwards(
    before: Callable[[nn.Module, Any], None] | None = None, after: Callable[[nn.Module, Any, Any], None] | None = None
) -> Iterator[None]:
    """Inside it ``before(module, args)`` and ``after(module, args, output)`` run around every module's forward."""
    handles: list[Handle] = []
    try:
        if before is not None:
            handles.append(before_forward(before))
        if after is not None:
            handles.append(after_forward(after))
        yield
    finally:
        remove(handles)


def before_forward(hook: Callable[[nn.Module, Any], None]) -> Handle:
    """``hook(module, args)`` before every forward of every module of this process."""
    return register_module_forward_pre_hook(hook)


class ForwardSwitch:
    """A hook before every module's forward that costs next to nothing to switch on and off."""

    def __init__(self, hook: Callable[[nn.Module, Any], None]) -> None:
        entry: Any = register_module_forward_pre_hook(hook)
        self._table, self._key, self._hook = entry.hooks_dict_ref(), entry.id, hook
        self.remove()

    def on(self) -> None:
        """From now on the hook is called."""
        self.is_on = True
        self._table[self._key] = self._hook

    def remove(self) -> None:
        """Switch it off."""
        self.is_on = False
        self._table.pop(self._key, None)


def after_forward(hook: Callable[[nn.Module, Any, Any], None]) -> Handle:
    """``hook(module, args, output)`` after every forward of every module, also after one that raised (output None)."""
    return register_module_forward_hook(hook, always_call=True)


def after_forward_with_keywords(hook: Callable[..., None]) -> Handle:
    """``hook(module, args, kwargs, output)`` like `after_forward`; torch leaves kwargs out after one that raised."""
    return _KeywordHook(hook)


class _KeywordHook:
    """Removes also the mark that a hook wants keywords, which torch's own handle leaves behind."""

    def __init__(self, hook: Callable[..., None]) -> None:
        self._handle = register_module_forward_hook(hook, with_kwargs=True, always_call=True)

    def remove(self) -> None:
        self._handle.remove()
        _global_forward_hooks_with_kwargs.pop(self._handle.id, None)


def before_step(hook: Callable[[torch.optim.Optimizer, Any, Any], Any]) -> "StepHook":
    """``hook(optimizer, args, kwargs)`` before every optimizer's step; it may return other ``(args, kwargs)``."""
    return StepHook(register_optimizer_step_pre_hook, hook, _in_pre_hook)


def after_step(hook: Callable[[torch.optim.Optimizer, Any, Any], None]) -> "StepHook":
    """``hook(optimizer, args, kwargs)`` after every optimizer's step."""
    return StepHook(register_optimizer_step_post_hook, hook, _in_post_hook)


class StepHook:
    """A hook around all optimizers' steps, which may be exchanged and taken back at any time, also inside a hook.

    torch walks over its table of hooks while they run: an entry that came or went meanwhile would break the walk, and
    with it the training. So what ends then falls silent at once, and the table changes later.
    """

    def __init__(
        self, register: Callable[[Any], Any], hook: Callable[..., Any], walking: Callable[[Any, Any], bool]
    ) -> None:
        self._hook: Callable[..., Any] | None = hook
        self._register, self._walking = register, walking
        self._entry: Any = None
        try:
            self._change(self._begin)
        except BaseException:
            self.remove()
            raise

    def become(self, hook: Callable[..., Any]) -> None:
        """From now on ``hook`` runs instead."""
        self._hook = hook
        if self._entry is not None:
            self._entry.hooks_dict_ref()[self._entry.id] = hook  # an entry that stays where it is disturbs no walk

    def remove(self) -> None:
        """Take it back; twice does nothing."""
        if self._hook is None:
            return
        self._hook = None
        if self._entry is not None:
            self._entry.hooks_dict_ref()[self._entry.id] = _silent
            self._change(self._entry.remove)

    def _begin(self) -> None:
        if self._hook is not None:
            self._entry = self._register(self._hook)

    def _change(self, run: Callable[[], None]) -> None:
        """Change the table now, or before the first forward of a module at which nobody walks over it."""
        for _ in range(TRIES):
            with _undivided():
                if not self._is_walked():
                    run()
                    return
            if any(self._walking(step, inner) for step, inner in _steps(sys._getframe())):
                break  # this thread itself, so that waiting does not help
            time.sleep(1e-4)
        pending = [run]

        def try_again(module: nn.Module, args: Any) -> None:
            del module, args
            with _undivided():
                if pending and not self._is_walked():
                    pending.pop()()
            if not pending:
                handle.remove()

        handle = before_forward(opaque(try_again))

    def _is_walked(self) -> bool:
        return any(self._walking(step, inner) for top in sys._current_frames().values() for step, inner in _steps(top))


@contextmanager
def _undivided() -> Iterator[None]:
    """No other thread runs Python code inside, as long as it is short and nothing in it waits."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(max(interval, 0.05))
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


#: How often to look whether other threads have ended their walk, a tenth of a millisecond apart.
TRIES = 100


def _silent(*_: Any) -> None:
    return None


#: The code that torch puts around the ``step`` of every class of optimizers; it runs the hooks.
_STEP = torch.optim.Optimizer.profile_hook_step(torch.optim.Optimizer.step).__code__


def _nearest(code: Any, frame: Any) -> Any:
    """The first frame that runs ``code``, from ``frame`` outwards; None if there is none."""
    while frame is not None and frame.f_code is not code:
        frame = frame.f_back
    return frame


def _steps(frame: Any) -> Iterator[tuple[Any, Any]]:
    """The frames of `_STEP` in a stack, each with the one that it has called."""
    inner = None
    while frame is not None:
        if frame.f_code is _STEP:
            yield frame, inner
        inner, frame = frame, frame.f_back


def _in_post_hook(step: Any, inner: Any) -> bool:
    del inner
    return "out" in step.f_locals


def _in_pre_hook(step: Any, inner: Any) -> bool:
    variables = step.f_locals
    if "out" in variables:
        return False
    return inner is None or inner.f_code is not getattr(variables.get("func"), "__code__", None)


def inside_another_step(optimizer: torch.optim.Optimizer) -> bool:
    """Whether this thread is inside the ``step`` of another optimizer, too."""
    return any(step.f_locals.get("self") is not optimizer for step, _ in _steps(sys._getframe()))


def nests(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the ``step`` of this optimizer may run the hooks of a ``step`` that it inherits, inside its own."""
    return sum(getattr(vars(kind).get("step"), "hooked", False) for kind in type(optimizer).__mro__) > 1


def inside_own_step(optimizer: torch.optim.Optimizer) -> bool:
    """Whether these are hooks of a ``step`` that the optimizer inherits, and calls inside its own."""
    return nests(optimizer) and sum(step.f_locals.get("self") is optimizer for step, _ in _steps(sys._getframe())) > 1


def forwards_under_way(module: nn.Module) -> int:
    """How many calls of ``module`` have begun and not ended in this thread."""
    number, call = 0, _nearest(_CALL, sys._getframe())
    while call is not None:
        number += call.f_locals.get("self") is module
        call = _nearest(_CALL, call.f_back)
    return number


def stand_ins() -> bool:
    """Whether this thread is inside ``functional_call``, where other tensors stand in for a module's parameters."""
    return _nearest(_FUNCTIONAL_CALL, sys._getframe()) is not None


def segments() -> tuple[list[Any], Any]:
    """The reentrant checkpoints inside which this thread computes without a graph, the innermost first, and the one
    around them that is being recomputed, or None; each is the node in the graph that stands for the segment.
    """
    checkpoint: Any = sys.modules.get("torch.utils.checkpoint")
    frame: Any = None if checkpoint is None else sys._getframe()
    inside: list[Any] = []
    while frame is not None and frame.f_code is not _BACKWARD:
        if frame.f_code.co_name == "unpack_hook":  # the other checkpointing, to get at what a segment has saved
            break
        if frame.f_code is checkpoint.CheckpointFunction.forward.__code__:
            inside.append(frame.f_locals["ctx"])
        elif frame.f_code is checkpoint.CheckpointFunction.backward.__code__:
            return inside, frame.f_locals["ctx"]
        frame = frame.f_back
    return inside, None


def _backward_under_way() -> bool:
    """Whether any thread is inside a backward pass."""
    return any(_nearest(_BACKWARD, top) is not None for top in sys._current_frames().values())


def at_end_of_call(callback: Callable[[Any], None]) -> Any:
    """Call ``callback`` when the innermost call of a module ends that runs hooks now, however it ends.

    It waits for as long as what is returned is held; None if there is no such call. torch makes a function for each
    call that runs hooks and drops it at its end: this is a weak reference to it, so the modules inside know nothing.
    """
    call = _nearest(_CALL, sys._getframe(1))
    inner = None if call is None else call.f_locals.get("inner")
    return None if inner is None else weakref.ref(inner, callback)


_CALL = nn.Module._call_impl.__code__
_FUNCTIONAL_CALL = torch.nn.utils.stateless._functional_call.__code__
_BACKWARD = torch.autograd.graph._engine_run_backward.__code__


def graph_node(tensor: Tensor) -> Any:
    """The autograd node that will receive the gradient of ``tensor`` (of a leaf: the node that accumulates it)."""
    node = tensor.grad_fn
    return torch.autograd.graph.get_gradient_edge(tensor).node if node is None else node


def on_gradient(node: Any, hook: Callable[[tuple[Tensor | None, ...]], None]) -> Handle:
    """``hook(gradients of the node's outputs)`` each time a backward pass reaches ``node``, before it runs."""
    return node.register_prehook(hook)


class LeafHooks:
    """Hooks on parameters, called with each gradient computed for them, be it by ``torch.autograd.grad``.

    They go on when a parameter gets another type or is frozen for a while.
    """

    def __init__(self) -> None:
        self._entries: dict[int, tuple[Tensor, bool, Handle]] = {}

    def add(self, parameter: Tensor, hook: Callable[[Tensor], None]) -> None:
        """Call ``hook(gradient)``, instead of what was there of us."""
        known = self._entries.get(id(parameter))
        bare = parameter._backward_hooks is None if known is None else known[1]
        if known is not None:
            known[2].remove()
        self._entries[id(parameter)] = parameter, bare, parameter.register_hook(hook)

    def remove(self, parameters: Iterable[Tensor] | None = None) -> None:
        """Take back those on ``parameters``, or all."""
        keys = list(self._entries) if parameters is None else [id(p) for p in parameters]
        entries = [self._entries.pop(key) for key in keys if key in self._entries]
        for _, _, handle in entries:
            handle.remove()
        # torch would go on calling an empty table. A backward pass under way must find it, though.
        if entries and not _backward_under_way():
            for parameter, bare, _ in entries:
                if bare and not parameter._backward_hooks:
                    parameter._backward_hooks = None


def on_node(node: Any, hook: Callable[[Any, Any], None]) -> Handle:
    """``hook(gradients of its inputs, of its outputs)`` each time ``node`` has run in a backward pass."""
    return node.register_hook(hook)


def at_end_of_backward(callback: Callable[[], None]) -> None:
    """Run ``callback`` once when the backward pass that is under way has finished; only to be called inside one."""
    torch.autograd.Variable._execution_engine.queue_callback(callback)


def remove(handles: Iterable[Handle]) -> None:
    """Remove every one of ``handles``, even if something comes between."""
    error: BaseException | None = None
    for handle in handles:
        try:
            handle.remove()
        except BaseException as interrupt:
            handle.remove()
            error = interrupt
    if error is not None:
        raise error


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C waits until the end of the block, which is short."""
    previous = None
    if threading.current_thread() is threading.main_thread():
        previous = signal.getsignal(signal.SIGINT)
    if not callable(previous):
        yield
        return
    pressed: list[Any] = []
    signal.signal(signal.SIGINT, lambda *args: pressed.append(args))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
        if pressed:
            previous(*pressed[0])


def modes_active() -> bool:
    """Whether somebody intercepts torch's functions or kernels here (a flop counter, a default device, ...)."""
    return bool(torch._C._len_torch_function_stack() or torch._C._len_torch_dispatch_stack())


@contextmanager
def isolated() -> Iterator[None]:
    """Inside, nobody's modes and no tensor subclass's ``__torch_function__`` see what is computed."""
    with torch._C.DisableTorchFunction():
        if torch._C._len_torch_dispatch_stack():
            with torch.utils._python_dispatch._disable_current_modes():
                yield
        else:
            yield


def opaque(hook: Callable[..., Any]) -> Callable[..., Any]:
    """``hook`` such that ``torch.compile`` does not look into it, for hooks that compiled functions may call."""
    disable = _disable()
    return hook if disable is None else disable(hook)


def compiling() -> bool:
    """Whether anything can have been compiled in this process, so that hooks should be `opaque`."""
    return _disable() is not None


def _disable() -> Any:
    # Another thread may just be importing it: then nothing can have been compiled yet.
    return getattr(sys.modules.get("torch._dynamo"), "disable", None)


class Eagerly:
    """Between `start` and `stop` what ``torch.compile`` made runs as plain Python, so that its modules are seen.

    With the backend "eager" the numbers are bitwise the same; a compiler that fuses operations may round differently.
    Where torch._dynamo was never loaded there is nothing to do, and it is not loaded for this. Needs torch 2.6; before
    that, what is compiled stays unseen.
    """

    _active: ClassVar[set["Eagerly"]] = set()
    _stance: ClassVar[Any] = None

    def start(self) -> None:
        """Begin; starting twice does nothing."""
        if self in self._active or "torch._dynamo" not in sys.modules or not hasattr(torch.compiler, "set_stance"):
            return
        if not self._active:
            Eagerly._stance = torch.compiler.set_stance("force_eager")
        self._active.add(self)

    def stop(self) -> None:
        """End; the last one to end restores the stance."""
        if self in self._active:
            self._active.discard(self)
            if not self._active:
                Eagerly._stance.__exit__(None, None, None)


class Quiet:
    """Keeps torch from warning that global hooks fire for compiled modules and their wrappers alike."""

    def __init__(self) -> None:
        warnings.filterwarnings("ignore", r"Using `torch\.compile\(module\)` when there are global hooks", UserWarning)
        self._filters: Any = warnings.filters  # filterwarnings is the only public way in, and this list the way out
        self._entry: Any = self._filters[0]

    def remove(self) -> None:
        """Take the filter back, and only it: also where ``catch_warnings`` has put a copy of the list in its place."""
        entry, self._entry = self._entry, None
        now: Any = warnings.filters
        for filters in (self._filters, now):
            if entry in filters:
                filters.remove(entry)


@contextmanager
def undisturbed(model: nn.Module, again: Callable[[], Any]) -> Iterator[OwnDraws]:
    """Whatever runs inside, the model is bitwise as before afterwards, and the random streams go on as if it had not.

    Put back: every module's attributes (mode, hooks, which tensors it holds), the contents of parameters, buffers and
    tensors kept as attributes, and gradients. Contents of lists and other objects that the model's own code writes to
    are not. What the code draws comes from `OwnDraws`, for which ``again`` is a short piece of it that may be run again
    at any time: random states that it moves are put back, those that a cell moves meanwhile stay.
    """
    parts = list(model.modules())
    attributes = [dict(vars(part)) for part in parts]
    tables = [
        {name: (table, table.copy()) for name, table in saved.items() if isinstance(table, dict)}
        for saved in attributes
    ]
    tensors = {
        value
        for saved, parts_tables in zip(attributes, tables, strict=True)
        for value in (*saved.values(), *(v for _, table in parts_tables.values() for v in table.values()))
        if isinstance(value, torch.Tensor)
    }
    tensors.update(model.parameters(), model.buffers())  # a scripted module has no attributes that hold them
    gradients = {tensor: tensor.grad for tensor in tensors if tensor.is_leaf and not tensor.is_inference()}
    draws = OwnDraws(again)
    try:
        with contents_kept(tensors), draws:
            try:
                yield draws
            finally:
                draws.put_back()
    finally:
        for part, saved, saved_tables in zip(parts, attributes, tables, strict=True):
            for table, copy in saved_tables.values():
                table.clear()
                table.update(copy)
            vars(part).clear()
            vars(part).update(saved)
        for tensor, gradient in gradients.items():
            if tensor.grad is not gradient:
                tensor.grad = gradient


@contextmanager
def contents_kept(tensors: Iterable[torch.Tensor]) -> Iterator[None]:
    """Afterwards each tensor holds what it held, bitwise, however it was written to."""
    contents = {tensor: (tensor.detach().clone(), tensor._version) for tensor in tensors if not tensor.is_inference()}
    try:
        yield
    finally:
        for tensor, (content, version) in contents.items():
            # Only what changed, and through .data: a graph that waits for its backward pass must not notice.
            if not _same_bits(tensor, content, version):
                tensor.data.copy_(content)


def _same_bits(tensor: torch.Tensor, content: torch.Tensor, version: int) -> bool:
    """Whether a tensor still holds that content; sparse ones are only asked whether torch noticed a change."""
    if tensor.layout != torch.strided or tensor.is_conj() or tensor.is_neg():
        return tensor._version == version

    def bits(strided: torch.Tensor) -> torch.Tensor:
        return strided.detach().contiguous().flatten().view(torch.uint8)

    return torch.equal(bits(tensor), bits(content))


@contextmanager
def attributes_kept(model: nn.Module) -> Iterator[None]:
    """Afterwards every module's attributes are as before; contents of tensors are not looked at.

    The light sibling of `undisturbed`, for code that never writes into a tensor of the model.
    """
    parts = [(vars(part), dict(vars(part))) for part in model.modules()]
    # Most are empty: copying those would take longer than everything else here.
    tables = [
        (value, value.copy() if value else None)
        for _, saved in parts
        for value in saved.values()
        if isinstance(value, dict)
    ]
    lists = [(value, value.copy()) for _, saved in parts for value in saved.values() if isinstance(value, list)]
    try:
        yield
    finally:
        for table, copy in tables:
            if table or copy:
                table.clear()
                table.update(copy or {})
        for items, before in lists:
            items[:] = before
        for attributes, saved in parts:
            attributes.clear()
            attributes.update(saved)


@contextmanager
def after_own_hooks(modules: Iterable[nn.Module], after: Callable[[nn.Module, Any, Any], None]) -> Iterator[None]:
    """Inside the block ``after(module, args, output)`` runs behind the forward hooks of their own of these modules."""
    handles: list[Handle] = []
    try:
        for module in modules:
            handles.append(module.register_forward_hook(after))
        yield
    finally:
        remove(handles)
