"""Running a user's modules so that nothing about them is different afterwards."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn

from dlwidgets.compute.observe import mode


@contextmanager
def own_precision() -> Iterator[None]:
    """Inside, a caller's autocast is off: results do not depend on where a function is called from."""
    with ExitStack() as stack:
        for kind in ("cpu", "cuda", "mps"):
            if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        yield


@contextmanager
def untouched(*modules: nn.Module) -> Iterator[None]:
    """Inside, the modules are in eval mode and in their own precision, and nothing is recorded for gradients;
    afterwards all is as before.

    Modes and buffers (their values and which tensors they are) are put back bitwise. Parameters are not copied, because
    this runs for every movement of a pointer: they change only if the modules' own code writes to them.
    """
    parts = list(dict.fromkeys(part for module in modules for part in module.modules()))
    tables = [(part, dict(part._buffers.items())) for part in parts]
    values: dict[Tensor, tuple[int, Tensor]] = {}
    for _, table in tables:
        for buffer in table.values():
            if buffer is not None and not buffer.is_inference():
                values[buffer] = buffer._version, buffer.detach().clone()
    try:
        with ExitStack() as stack:
            for module in modules:
                stack.enter_context(mode(module, False))
            with torch.no_grad(), own_precision():
                yield
    finally:
        for part, saved in tables:
            _put_back(part, saved)
        for buffer, (version, value) in values.items():
            if buffer._version != version:  # writing to all would spoil graphs that wait for their backward
                buffer.data.copy_(value)


def _put_back(part: nn.Module, buffers: dict[str, Tensor | None]) -> None:
    """Make these the buffers of a module."""
    if isinstance(part, torch.jit.ScriptModule):  # what it has it keeps, and its table cannot be written to
        for name, buffer in buffers.items():
            if getattr(part, name) is not buffer:
                setattr(part, name, buffer)
        return
    part._buffers.clear()
    part._buffers.update(buffers)
