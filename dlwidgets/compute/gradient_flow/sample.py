"""One sampled step: what arrives between its beginning and its end."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .norms import Norms, Table
from .shares import Graph, Key
from .statistics import Floats, Moments, Transfer, dense

#: Forwards of one step that are kept apart.
MANY = 32


class Sample:
    """Gathers the activations, gradients and weights of one step."""

    def __init__(self, step: int, kept: bool, norms: Norms) -> None:
        self.step = step
        self.kept = kept  # False where only hooks for the next step are wanted
        self.transfer = Transfer()
        self.forwards: list[Moments] = []  # of the training forwards that came to their end
        self.gradient: dict[int, float] = {}  # by position
        self.contribution: dict[Key, float] = {}  # of shared parameters
        self.unsplit: set[int] = set()  # shared parameters of which not every contribution is known
        self.graph = Graph()
        self.backward_seen = False
        self.parameters: list[Any] = []
        self.columns: list[int] = []  # of each parameter in the record
        self.parameter_gradient: Floats = np.zeros(0)
        self.weight: Floats = np.zeros(0)
        self.change: Floats = np.zeros(0)
        self.lost: Floats = np.zeros(0)
        self.graded: set[int] = set()  # those that have a gradient, whatever its norm
        self.updatable: set[int] = set()  # those that an optimizer with a rate stepped
        self.earlier: list[Sample] = []  # others that turned out to be parts of this step
        self._norms = norms
        self._gradings: list[tuple[list[int], Table]] = []  # parameters and their norms; the last counts
        self._sums: dict[tuple[Key, int, int], Tensor] = {}

    def restart(self) -> None:
        """Forget the passes so far: an optimizer evaluates its closure anew, and the last one counts."""
        # new containers: results still on their way from a device go to the old ones
        self.forwards, self.gradient, self.contribution, self.graph = [], {}, {}, Graph()
        self.backward_seen = any(part.backward_seen for part in self.earlier)
        self._sums = {}

    def set_aside(self) -> None:
        """What has passed so far stays, whatever restarts from now on."""
        self.look()
        part = Sample(self.step, self.kept, self._norms)
        part.forwards, part.gradient, part.contribution = self.forwards, self.gradient, self.contribution
        part.backward_seen, part.unsplit = self.backward_seen, self.unsplit | self.graph.unsplit
        self.earlier.append(part)
        self.forwards, self.gradient, self.contribution = [], {}, {}

    def arrived(self, position: int, gradient: Tensor) -> None:
        """The gradient at the output of ``position``."""
        self.backward_seen = True
        if _has_a_norm(gradient) and gradient.layout is torch.strided:
            self._norms.take(position, gradient, self.gradient, self.transfer)

    def contributed(self, key: Key, order: int, gradient: Tensor) -> None:
        """What one call, by its ``order``, contributes to the gradient of a shared parameter, or a part of it."""
        if not _has_a_norm(gradient):
            return
        gradient = gradient.detach()
        if self.graph.uses.get(key, 1) == 1:
            self._norms.take(key, dense(gradient), self.contribution, self.transfer)
            return
        pass_key = key, order, torch._C._current_graph_task_id()
        known = self._sums.get(pass_key)
        self._sums[pass_key] = gradient.clone() if known is None else known + gradient

    def parameter_gradients(self, at: list[int]) -> None:
        """Take the norms of the gradients of some parameters, nan where there is none."""
        keys, gradients = [], []
        for i in at:
            gradient = self.parameters[i].grad
            if gradient is not None:
                keys.append(~i)  # positions are not negative
                gradients.append(dense(gradient.detach()))
        table: Table = {}
        self._norms.together(keys, gradients, table, self.transfer)
        self._gradings.append((at, table))

    def look(self) -> None:
        """Finish the norms that wait."""
        for (key, _, _), total in self._sums.items():
            self._norms.take(key, dense(total), self.contribution, self.transfer)
        self._sums.clear()

    def take_parameters(self, parameters: list[tuple[int, Any]]) -> None:
        """The (column, parameter) pairs whose weights and gradients belong to this step."""
        self.columns = [column for column, _ in parameters]
        self.parameters = [parameter for _, parameter in parameters]
        self.parameter_gradient, self.weight, self.change, self.lost = np.full((4, len(parameters)), np.nan)

    def finish(self, unchanged: Callable[[Floats, Floats], Floats], everything: bool) -> None:
        """Bring everything to the host.

        ``unchanged`` is asked about updates that may have been lost to rounding; ``everything`` says that without an
        optimizer all parameters count as updated as soon as one is.
        """
        self.look()
        self.transfer.finish()
        self.unsplit |= self.graph.unsplit
        for at, table in self._gradings:
            self.parameter_gradient[at] = [table.get(~i, math.nan) for i in at]
            self.graded.update(i for i in at if ~i in table)
        self._gradings.clear()
        for part in reversed(self.earlier):
            self._join(part)
        self.earlier = []
        self._pool()
        self.contribution = {key: norm for key, norm in self.contribution.items() if key[0] not in self.unsplit}
        if everything and self.moved():
            self.updatable = set(range(len(self.parameters)))
        self.lost = unchanged(self.update_ratio(), self.parameter_gradient)
        self.lost[[i for i in range(len(self.parameters)) if i not in self.updatable]] = math.nan
        self.graph = Graph()

    def forward_ended(self, moments: Moments) -> None:
        """A training forward has come to its end. Of many in one step the sum is kept, not each."""
        if len(self.forwards) >= MANY:
            self.transfer.finish()
            self._pool()
        self.forwards.append(moments)

    def moved(self) -> bool:
        """Whether any weight has changed."""
        return bool((np.nan_to_num(self.change, nan=0.0) > 0).any())

    def moments(self) -> Moments:
        """What is known of the activations, once finished."""
        return self.forwards[0] if self.forwards else Moments()

    def update_ratio(self) -> Floats:
        """|w_after - w_before| / |w_before| of each parameter."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.change / self.weight

    def _pool(self) -> None:
        while len(self.forwards) > 1:
            last = self.forwards.pop()
            self.forwards[0].merge(last)

    def _join(self, earlier: "Sample") -> None:
        self.forwards = earlier.forwards + self.forwards
        self.unsplit |= earlier.unsplit
        pairs: list[tuple[dict[Any, float], dict[Any, float]]] = [
            (self.gradient, earlier.gradient),
            (self.contribution, earlier.contribution),
        ]
        for into, other in pairs:
            for key, norm in other.items():
                into[key] = math.hypot(into.get(key, 0.0), norm)


#: What ``torch.autograd`` itself calculates many gradients at once with, beside ``torch.func``.
_BATCHED: Any = torch._C._parse_dispatch_key("Batched")


def _has_a_norm(gradient: Tensor) -> bool:
    """Whether it is a plain tensor, and not a batch of many gradients that are computed at once (``vmap``)."""
    return (
        type(gradient) is Tensor
        and not torch._C._functorch.is_functorch_wrapped_tensor(gradient)
        and not torch._C._dispatch_keys(gradient).has(_BATCHED)
    )
