"""Running a user's code so that the global random streams go on as if it had not run, also beside cells that draw."""

import random
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

T = TypeVar("T")
Library: TypeAlias = Literal["torch", "numpy", "python"]

_ROUNDS = 3  # of asking who draws,
_PAUSE = 0.002  # each beginning with so many seconds in which only others can
_GENERATOR = {  # overloads of torch's operators, and those that take a generator besides
    "": "generator",
    "low": "low_generator",
    "low_dtype": "low_generator_dtype",
    "Tensor": "Tensor_generator",
    "out": "generator_out",
    "low_out": "low_generator_out",
    "low_dtype_out": "low_generator_dtype_out",
    "Tensor_out": "Tensor_generator_out",
}


def without_draws(run: Callable[[], T], again: Callable[[], Any]) -> T:
    """What ``run`` returns, without gradients; the global random streams go on as if it had not run (`OwnDraws`).

    Code that seeds torch or saves its state runs twice: ``run`` must then give the same.
    """
    with torch.no_grad(), OwnDraws(again, never_alone=True) as draws:
        try:
            result = run()
            return run() if draws.found_out() else result
        finally:
            draws.put_back()


class OwnDraws(TorchDispatchMode):
    """Inside, what this thread draws from torch's global generators comes from copies of them, which can be seeded.

    So a cell that seeds and draws meanwhile gets its own numbers. Code that moves global states in other ways (it draws
    from numpy or Python, or seeds or saves torch's state) is `found_out` by running ``again``, a short piece of it: it
    goes on with the global states of those libraries, which `put_back` then restores.

    In the main thread whatever moves is taken for the code's, unless it is ``never_alone``. Elsewhere numpy's seed set
    anew in every run is not noticed, so not taken back.

    Attributes
    ----------
    shared
        The libraries whose global states the code moves itself.
    """

    def __init__(self, again: Callable[[], Any], never_alone: bool = False) -> None:
        super().__init__()
        self.shared: set[Library] = set()
        self._again = again
        # Cells run in the main thread, one at a time.
        self._is_alone = not never_alone and threading.current_thread() is threading.main_thread()
        self._before = _states()
        self._seed: int | None = None
        self._own: dict[torch.device, torch.Generator] = {}
        self._is_asked = False

    def seed(self, seed: int) -> None:
        """Start this thread's generators anew, and those of the libraries that the code shares with all threads."""
        self._seed = seed
        for own in self._own.values():
            own.manual_seed(seed)
        if "torch" in self.shared:  # not torch.manual_seed: before CUDA is first used that leaves a note to seed it
            for generator in _generators():
                generator.manual_seed(seed)
        if "numpy" in self.shared:
            np.random.seed(seed % 2**32)  # noqa: NPY002
        if "python" in self.shared:
            random.seed(seed)

    def seeded(self, seed: int, run: Callable[[], T]) -> T:
        """What ``run`` returns if it starts with ``seed``, wherever it draws from."""
        self.seed(seed)
        result = run()
        if self.found_out():
            self.seed(seed)
            result = run()
        return result

    def found_out(self) -> bool:
        """Whether the code turns out to move global states that were not known to be moved by it; they are put back.
        Ask after a first run, and then run anew."""
        new: set[Library] = set()
        if self._own and not self._is_asked:
            self._is_asked = True
            new |= _touched(self._again) & {"torch"}  # a state saved or set must be that of the numbers drawn
        new |= self._culpable() - self.shared
        self.shared |= new
        if new:
            _restore(self._before, new)
        return bool(new)

    def put_back(self) -> None:
        """Restore the global states that the code has moved, but not those that a cell has moved meanwhile."""
        self.shared |= self._culpable()
        _restore(self._before, self.shared)

    def _culpable(self) -> set[Library]:
        """Of the libraries whose states have moved, those whose states the code moves."""
        suspects = _moved(self._before, _states()) - self.shared
        if not suspects or self._is_alone:
            return suspects
        found = _touched(self._again) if suspects & {"torch", "python"} else set()
        if "numpy" in suspects and _moves_numpy(self._again):
            found.add("numpy")
        return found & suspects

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags or "torch" in self.shared:
            return func(*args, **kwargs)
        given = {argument.name: argument.default_value for argument in func._schema.arguments}
        given |= zip(given, args, strict=False)
        given |= kwargs
        device = _device(given)
        draws = given.get("generator") is None and 0 not in (given.get("dropout_p"), given.get("dropout"))
        if not draws or device.type not in ("cpu", "cuda", "mps"):  # on "meta" there are no numbers
            return func(*args, **kwargs)
        own = self._own_of(device)
        other = _GENERATOR.get(func._schema.overload_name, "")
        taking = func if "generator" in given else getattr(func.overloadpacket, other, None)
        if taking is None:
            with _in_place_of_global(own):
                return func(*args, **kwargs)
        positional = [argument.name for argument in taking._schema.arguments if not argument.kwarg_only]
        if "generator" in positional:
            args = args[: positional.index("generator")]
        return taking(*args, **{**kwargs, "generator": own})

    def _own_of(self, device: torch.device) -> torch.Generator:
        own = self._own.get(device)
        if own is None:
            own = self._own[device] = torch.Generator(device)
            if self._seed is None:
                own.set_state(_generator(device).get_state())
            else:
                own.manual_seed(self._seed)
        return own


class _States(NamedTuple):
    """Of the global random generators."""

    of_torch: list[Tensor]  # of `_generators`
    of_python: tuple[Any, ...]
    of_numpy: tuple[Any, ...]


def _device(arguments: dict[str, Any]) -> torch.device:
    """Where an operator with these arguments draws."""
    tensors = [value for value in arguments.values() if isinstance(value, Tensor)]
    device = torch.device(arguments.get("device") or (tensors[0].device if tensors else "cpu"))
    needs_index = device.type == "cuda" and device.index is None
    return torch.device("cuda", torch.cuda.current_device()) if needs_index else device


@contextmanager
def _in_place_of_global(own: torch.Generator) -> Iterator[None]:
    """Inside, for operators that take no generator, the global one of that device has its state."""
    everyones = _generator(own.device)
    state = everyones.get_state()
    everyones.set_state(own.get_state())
    try:
        yield
    finally:
        own.set_state(everyones.get_state())
        everyones.set_state(state)


def _touched(run: Callable[[], Any]) -> set[Library]:
    """Of torch and Python, whose global states ``run`` saves, sets, or draws from, but for torch's operators.

    A profile function sees what this thread calls, and only that. Where there is one already nothing is known.
    """
    found: set[Library] = set()
    if sys.getprofile() is not None:
        return {"torch", "python"}
    method: Any = random.getstate
    of_torch, of_python = _generators(), method.__self__

    def see(frame: Any, event: str, function: Any) -> None:
        if event == "c_call" and frame.f_code.co_filename != __file__:
            owner = getattr(function, "__self__", None)
            if owner is of_python:
                found.add("python")
            elif isinstance(owner, torch.Generator) and any(owner is generator for generator in of_torch):
                found.add("torch")

    sys.setprofile(see)
    try:
        with suppress(Exception):
            run()
    finally:
        sys.setprofile(None)
    return found


def _moves_numpy(run: Callable[[], Any]) -> bool:
    """Whether ``run`` moves numpy's global state every time, and nobody else moves it in a pause before."""
    for _ in range(_ROUNDS):
        before = _states()
        time.sleep(_PAUSE)
        if "numpy" in _moved(before, _states()):
            return False
        with suppress(Exception):
            run()
        if "numpy" not in _moved(before, _states()):
            return False
    return True


def _states() -> _States:
    numpy_state: Any = np.random.get_state()  # noqa: NPY002 (the global one is meant)
    return _States(_torch_states(), random.getstate(), numpy_state)


def _torch_states() -> list[Tensor]:
    return [generator.get_state() for generator in _generators()]


def _generators() -> list[torch.Generator]:
    """Torch's global ones: the CPU's, then those of other devices in use."""
    of_cuda = torch.cuda.default_generators if torch.cuda.is_initialized() else ()
    of_mps = [torch.mps._get_default_mps_generator()] if torch.backends.mps.is_available() else []
    return [torch.default_generator, *of_mps, *of_cuda]


def _generator(device: torch.device) -> torch.Generator:
    """The global one of a device."""
    if device.type == "cuda":
        return torch.cuda.default_generators[device.index]
    return torch.mps._get_default_mps_generator() if device.type == "mps" else torch.default_generator


def _moved(first: _States, second: _States) -> set[Library]:
    """The libraries whose states differ."""
    same_numpy = all(np.array_equal(a, b) for a, b in zip(first.of_numpy, second.of_numpy, strict=True))
    same: dict[Library, bool] = {
        "torch": _same_tensors(first.of_torch, second.of_torch),
        "numpy": same_numpy,
        "python": first.of_python == second.of_python,
    }
    return {library for library, is_same in same.items() if not is_same}


def _same_tensors(first: list[Tensor], second: list[Tensor]) -> bool:
    # Not strict: CUDA may have come into use meanwhile.
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=False))


def _restore(states: _States, libraries: Collection[Library] = ("torch", "numpy", "python")) -> None:
    if "torch" in libraries:
        for generator, state in zip(_generators(), states.of_torch, strict=False):
            generator.set_state(state)
    if "python" in libraries:
        random.setstate(states.of_python)
    if "numpy" in libraries:
        np.random.set_state(states.of_numpy)  # noqa: NPY002
