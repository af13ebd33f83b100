"""The tensors of a recorded run, and the memory behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .graph import Value

if TYPE_CHECKING:
    from .capture import Recorder


class Leak(Exception):
    """A run without numbers needs one: a branch or a shape that depends on data."""


class Root:
    """The memory behind some tensors: what it holds now, and how often it was written to."""

    __slots__ = ("content", "shape", "strides", "version")

    def __init__(self, content: Value | Tensor, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
        self.content, self.shape, self.strides, self.version = content, shape, strides, 0


class Traced(Tensor):
    """A tensor of the recorded run; ``carried`` holds its numbers where the run has them."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]
    root: Root
    value: Value | Tensor
    version: int
    carried: Tensor | None
    recorder: Recorder
    meta: Tensor | None

    @staticmethod
    def __new__(
        cls: Any, layout: tuple[Any, Any, int, torch.dtype], device: Any, recorder: Any, root: Any, value: Any
    ) -> Any:
        shape, strides, offset, dtype = layout
        made = Tensor._make_wrapper_subclass(
            cls, shape, strides=strides, storage_offset=offset, dtype=dtype, device=device, requires_grad=False
        )
        made.recorder, made.root, made.value, made.version = recorder, root, value, root.version
        made.carried = made.meta = None
        return made

    def __init__(self, *_: Any) -> None:
        super().__init__()

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls,
        func: Any,
        types: Any,
        args: Any = (),
        kwargs: Any = None,
    ) -> Any:
        raise RuntimeError(f"{func} was called on a tensor of a recorded run after the run")

    def numbers(self, why: str) -> Tensor:
        """The numbers themselves, handed to code that no graph records."""
        if self.carried is None:
            raise Leak(why)
        self.recorder.note_leak(why)
        return self.carried.detach().clone()

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        return self.numbers("numpy").numpy(*args, **kwargs)

    def tolist(self) -> Any:
        return self.numbers("tolist").tolist()

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        return self.numbers("numpy").__array__(*args, **kwargs)

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"Traced({tuple(self.shape)})"

    def __format__(self, spec: str) -> str:
        return format(self.numbers("format"), spec)

    def __deepcopy__(self, memo: Any) -> Any:
        return self.clone()


def covers_memory(tensor: Tensor) -> bool:
    """Whether a tensor is the whole of its memory, each element once."""
    expected = 1
    for size, stride in sorted(zip(tensor.shape, tensor.stride(), strict=True), key=lambda pair: (pair[1], pair[0])):
        if size != 1:
            if stride != expected:
                return False
            expected *= size
    return tensor.storage_offset() == 0 and tensor.untyped_storage().nbytes() == expected * tensor.element_size()


def memory(tensor: Tensor) -> int:
    """A name for the memory behind a real tensor."""
    try:
        return tensor.untyped_storage()._cdata
    except (NotImplementedError, RuntimeError):
        return id(tensor)


def device_of(args: Any) -> torch.device:
    """The device of the first tensor among arguments."""
    for item in args:
        if isinstance(item, Tensor):
            return item.device
        if isinstance(item, (list, tuple)) and item and isinstance(item[0], Tensor):
            return item[0].device
    return torch.device("cpu")


def on_meta(item: Any) -> Any:
    """A tensor of the same layout without numbers."""
    if isinstance(item, Tensor):
        if isinstance(item, Traced) and item.meta is not None:
            return item.meta
        made = torch.empty_strided(tuple(item.shape), item.stride(), dtype=item.dtype, device="meta")
        if item.storage_offset():
            reach = item.storage_offset() + sum(
                (n - 1) * max(s, 0) for n, s in zip(item.shape, item.stride(), strict=True)
            )
            made = torch.empty(reach + 1, dtype=item.dtype, device="meta")
            made = made.as_strided(tuple(item.shape), item.stride(), item.storage_offset())
        if isinstance(item, Traced):
            item.meta = made
        return made
    return torch.device("meta") if isinstance(item, torch.device) else item


def keywords_on_meta(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Keyword arguments with their tensors and devices replaced."""
    return {key: torch.device("meta") if key == "device" and item else on_meta(item) for key, item in kwargs.items()}


def picks_by_number(indices: Any) -> bool:
    """Whether free indices are numbers of positions: a mask of bools decides about shapes."""
    return all(not isinstance(item, Value) or item.dtype not in (torch.bool, torch.uint8) for item in indices)
