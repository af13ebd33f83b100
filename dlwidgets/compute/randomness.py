"""Running a user's code so that the global random streams go on as if it had not run, also beside cells that draw."""

import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_ROUNDS = 3  # of asking who draws,
_PAUSE = 0.002  # each beginning with so many seconds in which only others can


def without_draws(run: Callable[[], Any], again: Callable[[], Any]) -> Any:
    """What ``run`` returns, without gradients; the global random states are put back if it draws from them.

    Only then: while it runs in a thread of its own a cell may seed and draw, and that must stay. What this thread draws
    from torch's generators is seen. Whatever else moves a state (numpy, Python, ``torch.manual_seed``) does not tell
    who it was: so ``again``, a short piece of the same work, runs a few more times, each time after a pause. Moves in
    every run and in no pause are its own; otherwise a cell draws, and all states are left as they are then. Not
    noticed, so not taken back, is numpy's or Python's seed set anew in every run: the states then always end the same.
    """
    before = _states()
    draws = Draws(before)
    try:
        with torch.no_grad(), draws:
            return run()
    finally:
        after = _states()
        if not _same(before, after) and (draws.explain(after) or _moves_states(again)):
            _restore(before)


class Draws(TorchDispatchMode):
    """Follows the global random states from ``states`` on by what this thread draws from torch's generators."""

    def __init__(self, states: "_States") -> None:
        super().__init__()
        self._expected = states
        self._explained = True  # whether each of this thread's draws found the states as expected

    def explain(self, states: "_States") -> bool:
        """Whether all that changed until ``states`` was changed by this thread's draws from torch's generators."""
        return self._explained and _same(self._expected, states)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **(kwargs or {}))
        self._explained = self._explained and _same_tensors(self._expected.of_torch, _torch_states())
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self._expected = self._expected._replace(of_torch=_torch_states())


class _States(NamedTuple):
    """Of the global random generators."""

    of_torch: list[Tensor]  # the CPU's, then those of CUDA devices in use
    of_python: tuple[Any, ...]
    of_numpy: tuple[Any, ...]


def _moves_states(run: Callable[[], Any]) -> bool:
    """Whether ``run`` changes states in a way that `Draws` does not explain, and nobody else changes them."""
    for _ in range(_ROUNDS):
        before = _states()
        time.sleep(_PAUSE)
        if not _same(before, _states()):
            return False
        draws = Draws(before)
        with suppress(Exception), torch.no_grad(), draws:
            run()
        if draws.explain(_states()):
            return False
    return True


def _states() -> _States:
    numpy_state: Any = np.random.get_state()  # noqa: NPY002 (the global one is meant)
    return _States(_torch_states(), random.getstate(), numpy_state)


def _torch_states() -> list[Tensor]:
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [])]


def _same(first: _States, second: _States) -> bool:
    same_numpy = all(np.array_equal(a, b) for a, b in zip(first.of_numpy, second.of_numpy, strict=True))
    return same_numpy and first.of_python == second.of_python and _same_tensors(first.of_torch, second.of_torch)


def _same_tensors(first: list[Tensor], second: list[Tensor]) -> bool:
    # Not strict: CUDA may have come into use meanwhile.
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=False))


def _restore(states: _States) -> None:
    torch.set_rng_state(states.of_torch[0])
    for index, state in enumerate(states.of_torch[1:]):
        torch.cuda.set_rng_state(state, index)
    random.setstate(states.of_python)
    np.random.set_state(states.of_numpy)  # noqa: NPY002
