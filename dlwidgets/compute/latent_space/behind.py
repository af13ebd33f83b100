"""The modules behind what a user calls: found, and replaced by copies that share the weights."""

import copy
import dis
import functools
from collections import deque
from collections.abc import Iterator
from types import CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dlwidgets.compute.structure import structural_copy

_MAX_STEPS = 5  # from a call to a module behind it,
_MAX_THINGS = 10_000  # and so many things are looked at

_ATOMS = (type(None), bool, int, float, complex, str, bytes, type, ModuleType, Tensor, np.ndarray, torch.device)

_COMPILED_FROM = "_torchdynamo_orig_callable"  # on a function that torch.compile made


def modules_behind(*calls: Any) -> tuple[nn.Module, ...]:
    """The modules that the calls may run, those of the first call first, nearer ones before those further away.

    Looked at: modules themselves, the owners of bound methods, partials, the variables, globals, default values and
    attributes of functions, and dicts, lists, tuples, sets and attributes of other objects, up to five steps away. What
    a class or an imported file holds is not looked at.
    """
    return tuple(thing for thing, _ in _reachable(calls).values() if isinstance(thing, nn.Module))


def apart(*calls: Any) -> tuple[Any, ...]:
    """The same calls around a `structural_copy` of the modules behind them.

    So whatever switches modes or puts back buffers does not reach the user's own modules, also while another thread
    trains them. A module behind several calls has one copy. Everything on the way to a module is rebuilt, functions
    with variables of their own for what was replaced; all else, other globals too, is shared and stays live. An object
    that cannot be copied, or that has a finalizer, is shared as it is, with the modules in it.
    """
    things = _reachable(calls)
    modules = [thing for thing, _ in things.values() if isinstance(thing, nn.Module)]
    copied = structural_copy(nn.ModuleList(modules))._modules.values()
    copies = {id(module): copied_module for module, copied_module in zip(modules, copied, strict=True)}
    holders = set(copies)
    more = holders
    while more:
        more = {key for key, (_, parts) in things.items() if any(id(part) in more for part in parts)} - holders
        holders |= more
    rebuild = _Rebuild(copies, holders)
    return tuple(map(rebuild, calls))


def _reachable(calls: tuple[Any, ...]) -> dict[int, tuple[Any, list[Any]]]:
    """What can be reached from the calls, by its id, each with its parts; breadth first."""
    things: dict[int, tuple[Any, list[Any]]] = {}
    layer = list(calls)
    for _ in range(_MAX_STEPS + 1):
        following = []
        for thing in layer:
            if id(thing) in things or isinstance(thing, _ATOMS):
                continue
            if len(things) == _MAX_THINGS:
                return things
            parts = list(_parts(thing))
            things[id(thing)] = thing, parts
            following += parts
        layer = following
    return things


def _parts(thing: Any) -> Iterator[Any]:
    """What is one step away."""
    if isinstance(thing, nn.Module):
        return
    if isinstance(thing, MethodType):
        yield from (thing.__self__, thing.__func__)
    elif isinstance(thing, functools.partial):
        yield from (thing.func, *thing.args, *thing.keywords.values())
    elif isinstance(thing, FunctionType):
        if _COMPILED_FROM in vars(thing):
            yield vars(thing)[_COMPILED_FROM]
            return
        yield from (content for cell in thing.__closure__ or () for content in _contents(cell))
        yield from (thing.__globals__[name] for name in _global_names(thing.__code__) if name in thing.__globals__)
        yield from (thing.__defaults__ or ())
        yield from (thing.__kwdefaults__ or {}).values()
        yield from vars(thing).values()
    elif isinstance(thing, dict):
        yield from list(thing.values())
    elif isinstance(thing, (list, tuple, set, frozenset, deque)):
        yield from list(thing)
    elif isinstance(getattr(thing, "__dict__", None), dict):
        yield from list(vars(thing).values())


def _contents(cell: CellType) -> list[Any]:
    try:
        return [cell.cell_contents]
    except ValueError:  # a variable that has no value yet
        return []


@functools.lru_cache(maxsize=256)
def _global_names(code: CodeType) -> tuple[str, ...]:
    """The global variables that a function reads, also inside the functions that it defines."""
    names = [each.argval for each in dis.get_instructions(code) if each.opname in ("LOAD_GLOBAL", "LOAD_NAME")]
    inner = (const for const in code.co_consts if isinstance(const, CodeType))
    return tuple(dict.fromkeys([*names, *(name for each in inner for name in _global_names(each))]))


class _Globals(dict[str, Any]):
    """A function's globals of its own in front of the live ones."""

    def __init__(self, live: dict[str, Any]) -> None:
        super().__init__({name: live[name] for name in ("__builtins__", "__name__") if name in live})
        self.live = live

    def __missing__(self, name: str) -> Any:
        return self.live[name]


class _Rebuild:
    """Calls with what holds a module rebuilt around its copy; what is rebuilt once is used everywhere."""

    def __init__(self, copies: dict[int, nn.Module | None], holders: set[int]) -> None:
        self.done: dict[int, Any] = dict(copies)
        self.cells: dict[int, CellType] = {}
        self.globals: dict[int, _Globals] = {}
        self.holders = holders

    def __call__(self, thing: Any) -> Any:
        if id(thing) not in self.holders:
            return thing
        if id(thing) not in self.done:
            # What can refer to itself is registered before its parts are rebuilt.
            if isinstance(thing, MethodType):
                self.done[id(thing)] = MethodType(self(thing.__func__), self(thing.__self__))
            elif isinstance(thing, functools.partial):
                keywords = {name: self(value) for name, value in thing.keywords.items()}
                self.done[id(thing)] = functools.partial(self(thing.func), *map(self, thing.args), **keywords)
            elif isinstance(thing, FunctionType):
                self._function(thing)
            elif isinstance(thing, tuple):
                self.done[id(thing)] = tuple.__new__(type(thing), map(self, thing))
            else:
                self._object(thing)
        return self.done[id(thing)]

    def _function(self, thing: FunctionType) -> None:
        if _COMPILED_FROM in vars(thing):
            self.done[id(thing)] = self(vars(thing)[_COMPILED_FROM])
            return
        cells = tuple(map(self._cell, thing.__closure__ or ()))
        variables = self._variables(thing)
        function = FunctionType(thing.__code__, variables, thing.__name__, None, cells or None)
        self.done[id(thing)] = function
        for new, cell in zip(cells, thing.__closure__ or (), strict=True):
            if new is not cell:
                new.cell_contents = self(cell.cell_contents)
        for name in () if variables is thing.__globals__ else _global_names(thing.__code__):
            if id(thing.__globals__.get(name)) in self.holders:
                variables[name] = self(thing.__globals__[name])
        function.__defaults__ = thing.__defaults__ and tuple(map(self, thing.__defaults__))
        function.__kwdefaults__ = {name: self(value) for name, value in (thing.__kwdefaults__ or {}).items()}
        function.__dict__.update({name: self(value) for name, value in vars(thing).items()})
        function.__qualname__ = thing.__qualname__

    def _cell(self, cell: CellType) -> CellType:
        """An empty cell where the content is going to be replaced; shared by the functions that share the original."""
        if all(id(content) not in self.holders for content in _contents(cell)):
            return cell
        return self.cells.setdefault(id(cell), CellType())

    def _variables(self, thing: FunctionType) -> dict[str, Any]:
        live = thing.__globals__
        if all(id(live.get(name)) not in self.holders for name in _global_names(thing.__code__)):
            return live
        return self.globals.setdefault(id(live), _Globals(live))

    def _object(self, thing: Any) -> None:
        self.done[id(thing)] = thing
        if hasattr(type(thing), "__del__"):
            return
        try:
            copied = copy.copy(thing)
        except Exception:  # whatever its own code raises
            return
        self.done[id(thing)] = copied
        if copied is thing:
            return
        if isinstance(thing, dict):
            copied.update({key: self(value) for key, value in thing.items()})
        elif isinstance(thing, list):
            copied[:] = map(self, thing)
        elif isinstance(thing, (set, frozenset, deque)):
            self.done[id(thing)] = type(thing)(map(self, thing))
        else:
            vars(copied).update({name: self(value) for name, value in vars(thing).items()})
