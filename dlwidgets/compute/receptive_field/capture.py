"""Recording a run of a model: every op as a node of a graph, writes in place turned into new values.

Tensors that depend on the input, on a Parameter or on a random draw become `Traced` tensors, which have a shape and,
unless the run needs them, no numbers. Tensors made from buffers and constants alone stay real ones, so that holes can
be read from their values. A tensor that already existed is never written to: the written state lives in a `Root` here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from .constants import known_of
from .graph import Node, Value
from .operations import Operation, operation
from .shapes import quick_layouts
from .traced import Leak, Root, Traced, covers_memory, device_of, keywords_on_meta, memory, on_meta, picks_by_number

LARGEST_COPY = 2**24
"""Constants of the model with more numbers than this are referred to, not copied."""


class DataSetter(TorchFunctionMode):
    """Sees ``tensor.data = other``, which no dispatch mode does and which would break the tensor."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self.recorder = recorder

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func == SET_DATA:
            self.recorder.replace_data(*args)
            return None
        return func(*args, **(kwargs or {}))


SET_DATA = Tensor.data.__set__  # type: ignore[attr-defined]


class Recorder(TorchDispatchMode):
    """Records the ops that run inside it. ``real``: carry numbers along, for runs that cannot do without."""

    def __init__(self, parameters: list[Tensor], buffers: list[Tensor], real: bool) -> None:
        super().__init__()
        self.real = real
        self.nodes: list[Node] = []
        self.broken: tuple[int, str] | None = None
        self._roots: dict[int, Root] = {}
        self._own: dict[int, Any] = {}
        self._owners: dict[int, Tensor] = {memory(buffer): buffer for buffer in buffers}
        self._copies: dict[int, Tensor] = {}
        self._held_copies: dict[Any, Tensor] = {}
        self._keep: list[Any] = []
        for parameter in parameters:
            if parameter.is_floating_point() or parameter.is_complex():
                self._root_of(parameter, Value(tuple(parameter.shape), parameter.dtype, None, 0, 0))

    # What enters

    def enter(self, tensor: Tensor, depends: bool) -> Traced:
        """A tensor from outside whose numbers are free; ``depends``: it is the input itself."""
        value = Value(tuple(tensor.shape), tensor.dtype, None, 0, 0)
        value.depends = depends
        layout = tuple(tensor.shape), tensor.stride(), 0, tensor.dtype
        made = self._wrap(value, layout, tensor.device)
        if self.real:
            # The memory behind may be larger or shared: a copy with the same strides.
            made.carried = torch.empty_strided(*layout[:2], dtype=tensor.dtype, device=tensor.device).copy_(
                tensor.detach()
            )
        return made

    def note_leak(self, why: str) -> None:
        """Numbers left the graph: what comes later may depend on them in any way."""
        if self.broken is None:
            self.broken = len(self.nodes), why

    def current(self, tensor: Tensor) -> Value | Tensor:
        """What a tensor holds now: a value of the graph, or a real tensor if it is constant."""
        if isinstance(tensor, Traced):
            if tensor.version != tensor.root.version:
                tensor.value, tensor.version = self._read(tensor.root, tensor), tensor.root.version
            return tensor.value
        root = self._roots.get(memory(tensor))
        return tensor if root is None else self._read(root, tensor)

    def replace_data(self, tensor: Tensor, new: Tensor) -> Tensor:
        """What ``tensor.data = new`` does to the values: a write."""
        if tensor.shape != new.shape or tensor.dtype != new.dtype:
            raise Leak("data (of another shape)")
        if self.real:
            self._writable(tensor).copy_(self._real(new))
        self._write(tensor, self.current(new))
        return tensor

    # The dispatch

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        op = operation(func)
        free = False

        def resolve(item: Any) -> Any:
            nonlocal free
            if isinstance(item, Tensor):
                found = self.current(item)
                free = free or isinstance(found, Value)
                return found
            if type(item) in (list, tuple):
                return [resolve(part) for part in item]
            return item

        resolved = tuple(resolve(item) for item in args)
        keywords = {key: resolve(item) for key, item in kwargs.items()} if kwargs else kwargs
        if op.reads_data and free and not (op.name in ("index", "_unsafe_index") and picks_by_number(resolved[1])):
            return self._data(op, func, args, kwargs, resolved, keywords)
        if op.fills and not op.random:
            return self._constant(op, func, tree_map(self._plain, args), kwargs, args)
        if not free and not op.random:
            return self._constant(op, func, resolved, keywords, args)
        return self._free(op, func, args, kwargs, resolved, keywords)

    def _plain(self, item: Any) -> Any:
        """A stand-in for a free tensor whose numbers do not matter."""
        if isinstance(item, Traced):
            return torch.empty_strided(tuple(item.shape), item.stride(), dtype=item.dtype, device=item.device)
        return item

    def _constant(self, op: Operation, func: Any, args: Any, kwargs: Any, originals: Any) -> Any:
        """Run for real what depends on constants alone."""
        if op.writes and originals:
            target = originals[op.writes[0]] if op.writes[0] < len(originals) else None
            if isinstance(target, Tensor) and (isinstance(target, Traced) or memory(target) not in self._own):
                fresh = [item.clone() if index in op.writes else item for index, item in enumerate(args)]
                func(*fresh, **kwargs)
                for index in op.writes:
                    self._write(originals[index], fresh[index])
                return target
        result = func(*args, **kwargs)
        for item in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(item, Tensor) and not op.views:
                self._own[memory(item)] = self._owners[memory(item)] = item
        return originals[op.writes[0]] if op.writes and isinstance(result, Tensor) and originals else result

    def _data(self, op: Operation, func: Any, args: Any, kwargs: Any, resolved: Any, keywords: Any) -> Any:
        """Let numbers of free tensors out, or shapes that depend on them."""
        if not self.real:
            raise Leak(op.name)
        self.note_leak(op.name)
        result = func(*tree_map(self._real, args), **tree_map(self._real, kwargs))
        if not any(isinstance(item, Tensor) for item in (result if isinstance(result, (tuple, list)) else [result])):
            return result
        return self._outputs(op, func, args, resolved, keywords, result, result)

    def _free(self, op: Operation, func: Any, args: Any, kwargs: Any, resolved: Any, keywords: Any) -> Any:
        if op.writes:
            return self._free_write(op, func, args, kwargs, resolved, keywords)
        if not self.real:
            layouts = quick_layouts(op, args, kwargs)
            if layouts is not None:
                node = self._node(op.name, func, resolved, keywords)
                device = device_of(args)
                made = [self._wrap(self._output(node, item[0], item[3]), item, device) for item in layouts]
                return made[0] if len(made) == 1 else tuple(made)
        real = None
        if self.real:
            given = tree_map(self._real, args)
            if "batch_norm" in op.name:
                # It writes into running statistics without saying so.
                given = [
                    item.clone() if index in (3, 4) and item is not None else item for index, item in enumerate(given)
                ]
            real = func(*given, **tree_map(self._real, kwargs))
        result = real if self.real else func(*tree_map(on_meta, args), **keywords_on_meta(kwargs))
        if op.name == "as_strided":
            return self._restrided(args[0], result, real)
        return self._outputs(op, func, args, resolved, keywords, result, real)

    def _restrided(self, base: Tensor, result: Any, real: Tensor | None) -> Traced:
        """A view laid over the memory itself, whatever tensor it was asked of."""
        root = self._root_of(base)
        layout = tuple(result.shape), result.stride(), result.storage_offset(), result.dtype
        made = self._wrap(root.content, layout, base.device, root)
        made.value, made.carried = self._read(root, made), real
        return made

    def _outputs(
        self, op: Operation, func: Any, args: Any, resolved: Any, keywords: Any, result: Any, real: Any
    ) -> Any:
        node = self._node(op.name, func, resolved, keywords)
        base = next((item for item in args if isinstance(item, Tensor)), None)
        root = self._root_of(base) if op.views and base is not None else None

        def wrap(item: Any) -> Any:
            if not isinstance(item, Tensor):
                return item
            if item.layout != torch.strided:
                raise Leak(f"{op.name} (a result that is not strided)")
            value = self._output(node, tuple(item.shape), item.dtype)
            layout = tuple(item.shape), item.stride(), item.storage_offset() if root else 0, item.dtype
            made = self._wrap(value, layout, device_of(args) if not self.real else item.device, root)
            if real is not None:
                made.carried = item
            return made

        return tree_map(wrap, result)

    def _free_write(self, op: Operation, func: Any, args: Any, kwargs: Any, resolved: Any, keywords: Any) -> Any:
        """An op that writes into its arguments, or into ``out``."""
        if op.outs:
            return self._free_out(op, args, kwargs)
        if op.writes != (0,) or op.num_results > 1:
            raise Leak(f"{op.name} (writes into several arguments)")
        target = args[0]
        if op.name == "set_":
            return self.replace_data(*args)
        if torch.Tag.inplace_view in func.tags:
            return self._free_restride(op, func, args, kwargs, resolved, keywords)
        if self.real:
            func(self._writable(target), *tree_map(self._real, args[1:]), **tree_map(self._real, kwargs))
        node = self._node(op.functional, op.functional_func, resolved, keywords)
        self._write(target, self._output(node, tuple(target.shape), target.dtype))
        return target

    def _free_out(self, op: Operation, args: Any, kwargs: Any) -> Any:
        """An op told by ``out=`` where to put its results: run it without, then write."""
        if op.functional_func is None:
            raise Leak(f"{op.name} (with out=)")
        targets = [kwargs[name] for name in op.outs]
        rest = {key: item for key, item in kwargs.items() if key not in op.outs}
        results = self.__torch_dispatch__(op.functional_func, (), args, rest)
        for target, result in zip(targets, results if isinstance(results, (tuple, list)) else [results], strict=True):
            self.replace_data(target, result)
        return targets[0] if len(targets) == 1 else tuple(targets)

    def _free_restride(self, op: Operation, func: Any, args: Any, kwargs: Any, resolved: Any, keywords: Any) -> Any:
        """An op such as ``transpose_``, that changes the layout of a tensor and not the memory."""
        target = args[0]
        if not isinstance(target, Traced):
            raise Leak(f"{op.name} (of a tensor of the model)")
        with no_dispatch():
            func(*args, **kwargs)
        if target.carried is not None:
            target.carried = func(target.carried, *tree_map(self._real, args[1:]), **tree_map(self._real, kwargs))
        target.version, target.meta = target.root.version, None
        if op.name == "as_strided_":
            target.value = self._read(target.root, target)
        else:
            node = self._node(op.functional, op.functional_func, resolved, keywords)
            target.value = self._output(node, tuple(target.shape), target.dtype)
        return target

    # Values and memory

    def _node(self, name: str, func: Any, args: Any, kwargs: Any) -> Node:
        node = Node(name, func, tuple(map(self._held, args)), {key: self._held(item) for key, item in kwargs.items()})
        self.nodes.append(node)
        return node

    def _held(self, item: Any) -> Any:
        """An argument of a node, with constants that keep their numbers whatever happens to them later."""
        if isinstance(item, list):
            return [self._held(part) for part in item]
        if not isinstance(item, Tensor):
            return item
        self._keep.append(item)
        if self._own.pop(memory(item), None) is not None or item.numel() > LARGEST_COPY:
            # Made in this run, and from now on written to in a root only.
            return item
        layout = (item.stride(), item.storage_offset()) if item.layout == torch.strided else None
        key = memory(item), item.shape, layout
        if key not in self._held_copies:
            self._held_copies[key] = item.detach().clone()
        return self._held_copies[key]

    def _output(self, node: Node, shape: tuple[int, ...], dtype: torch.dtype) -> Value:
        value = Value(shape, dtype, node, len(node.outputs), len(self.nodes))
        node.outputs.append(value)
        value.known = known_of(node, value)
        return value

    def _wrap(self, value: Value | Tensor, layout: Any, device: Any, root: Root | None = None) -> Traced:
        return Traced(layout, device, self, root or Root(value, layout[0], tuple(layout[1])), value)

    def _root_of(self, tensor: Tensor, content: Value | None = None) -> Root:
        if isinstance(tensor, Traced):
            return tensor.root
        key = memory(tensor)
        root = self._roots.get(key)
        if root is None:
            # In the layout of who owns the memory: that of a slice would lose its axes.
            held = self._owners.get(key, tensor).detach()
            if not covers_memory(held):
                held = torch.empty(0, dtype=tensor.dtype, device=tensor.device).set_(tensor.untyped_storage())
            root = self._roots[key] = Root(content or held.clone(), tuple(held.shape), held.stride())
            self._keep.append(tensor)
        return root

    def _read(self, root: Root, tensor: Tensor) -> Value | Tensor:
        """What the memory holds now, seen through the layout of ``tensor``."""
        layout = tuple(tensor.shape), tensor.stride(), tensor.storage_offset()
        if layout == (root.shape, root.strides, 0) and tensor.dtype == root.content.dtype:
            return root.content
        if isinstance(root.content, Tensor):
            return root.content.as_strided(*layout)
        node = self._node("read_memory", None, (root.content, root.strides, *layout), {})
        return self._output(node, layout[0], tensor.dtype)

    def _write(self, tensor: Tensor, new: Value | Tensor) -> None:
        """Put ``new`` where ``tensor`` looks."""
        root = self._root_of(tensor)
        layout = tuple(tensor.shape), tensor.stride(), tensor.storage_offset()
        if layout == (root.shape, root.strides, 0):
            root.content = new
        elif isinstance(new, Tensor) and isinstance(root.content, Tensor):
            content = torch.empty_strided(root.shape, root.strides, dtype=root.content.dtype).copy_(root.content)
            content.as_strided(*layout).copy_(new)
            root.content = content
        else:
            old = root.content
            node = self._node("write_memory", None, (old, new, root.strides, *layout), {})
            root.content = self._output(node, root.shape, old.dtype)
        root.version += 1
        if isinstance(tensor, Traced):
            tensor.value, tensor.version = new, root.version

    def _writable(self, tensor: Tensor) -> Tensor:
        """The numbers of a tensor, to be written to: a copy's for a tensor that was there before."""
        if isinstance(tensor, Traced):
            assert tensor.carried is not None
            return tensor.carried
        key = memory(tensor)
        if key not in self._copies:
            before = self._roots.get(key)
            numbers = torch.empty(0, dtype=tensor.dtype, device=tensor.device).set_(tensor.untyped_storage()).clone()
            if before is not None and isinstance(before.content, Tensor):
                numbers.as_strided(before.shape, before.strides).copy_(before.content)
            self._copies[key] = numbers
            self._keep.append(tensor)
        return self._copies[key].as_strided(tuple(tensor.shape), tensor.stride(), tensor.storage_offset())

    def _real(self, item: Any) -> Any:
        if isinstance(item, Traced):
            return item.carried
        if isinstance(item, Tensor):
            if memory(item) in self._copies:
                return self._writable(item)
            found = self.current(item)
            return found if isinstance(found, Tensor) else item
        return item
