"""Where the gradient of a module's output arrives in the graph, also if the output is a view that is overwritten."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import observe

Gradients = tuple[Tensor | None, ...]


#: Gradients of larger outputs are looked at when they come; of others at most so many wait.
LARGE, MOST = 1 << 15, 64


class Waiting:
    """Small gradients that have arrived in one backward pass, to be looked at together: (arrival, gradient, its count
    of in-place operations, whether its norm is known).
    """

    def __init__(self) -> None:
        self.task = -1  # the backward pass at whose end they are; -1: nobody will look
        self.items: list[tuple[Arrival, Tensor, int, bool]] = []

    def close(self) -> list["tuple[Arrival, Tensor, int, bool]"]:
        """Hand them over; the next one finds nobody."""
        items, self.items, self.task = self.items, [], -1
        return items


class Arrival:
    """The hook at the node behind one output of one call: hands the gradient of that output on.

    ``position`` is negative as long as it is not known, ``forward`` the number of the forward pass. ``waiting``: where
    the gradient may wait, if nobody is known to change it in place.
    """

    __slots__ = ("_deliver", "_gather", "_slot", "_task", "_view", "_waiting", "forward", "position")

    def __init__(
        self,
        deliver: Callable[["Arrival", Tensor], None],
        position: int,
        forward: int,
        output: Tensor,
        waiting: Waiting | None = None,
    ) -> None:
        self.position, self.forward = position, forward
        self._deliver, self._waiting = deliver, waiting
        self._slot = output.output_nr
        self._task = -1  # the last backward pass that reached the node
        self._view: View | None = None
        self._gather: Callable[..., None] = View.add

    def __call__(self, gradients: Gradients) -> None:
        """The gradients of the node's outputs have arrived."""
        gradient = gradients[self._slot]
        if gradient is None:
            return
        task, waiting = torch._C._current_graph_task_id(), self._waiting
        if self._view is not None:
            self._task = task
            if self._view.spliced:
                self._gather(self._view, gradient, False, self._whole)
                return
        elif (
            waiting is not None
            and waiting.task == task
            and len(waiting.items) < MOST
            and type(gradient) is Tensor
            and not observe.modes_active()
        ):
            waiting.items.append((self, gradient, gradient._version, False))
            return
        self._deliver(self, gradient)

    def behind(self, output: Tensor, gather: Callable[..., None]) -> "Behind | None":
        """Where to listen further where ``output`` is a view: if it is overwritten in place, autograd hangs its later
        uses behind a new node of its base, and the view's own node sees the earlier uses alone. ``gather``: `View.add`,
        as a hook may call it.
        """
        base = output._base
        if base is None or not base.requires_grad or base.grad_fn is None:
            return None
        self._view, self._gather = View(output, base), gather
        return Behind(self, self._view, base, observe.graph_node(base))

    def from_base(self, gradients: Gradients) -> None:
        """What arrives at the base: taken where nothing better was found in time, and the view is all of its base."""
        view = self._view
        assert view is not None
        gradient = gradients[view.slot]
        unseen = self._task != torch._C._current_graph_task_id()
        if gradient is not None and view.overwritten and view.whole and not view.spliced and unseen:
            self._deliver(self, gradient)

    def from_splice(self, slot: int) -> Callable[[Gradients, Gradients], None]:
        """The hook at the first node that overwrote the view: what leaves it for what was there before."""

        def hook(gradients: Gradients, _: Gradients) -> None:
            gradient = gradients[slot]
            if gradient is not None:
                self._gather(self._view, gradient, True, self._whole)

        return hook

    def _whole(self, gradient: Tensor) -> None:
        self._deliver(self, gradient)


class Behind(NamedTuple):
    """A view's base and its node: never to be held by a hook of the node, no garbage collector sees such a cycle."""

    arrival: Arrival
    view: "View"
    base: Tensor
    node: Any

    def splice(self) -> tuple[Any, int] | None:
        """The node of the first in-place operation on the view since, and which of its inputs the base was; None if
        there was none.
        """
        node = self.base.grad_fn if self.view.overwritten else None
        while node is not None and node is not self.node:
            behind = [edge[0] for edge in node.next_functions]
            if self.node in behind:
                self.view.spliced = True
                return node, behind.index(self.node)
            node = behind[0] if behind else None
        return None


class View:
    """An output that is a view, and what has become of it."""

    def __init__(self, output: Tensor, base: Tensor) -> None:
        self.slot = base.output_nr
        self.whole = base.numel() == output.numel()
        self.spliced = False  # whether the node that overwrote it was found
        self._alias = output.detach()  # shares the counter of in-place operations
        self._version = output._version
        self._base = base.shape, base.stride()
        self._region = output.shape, output.stride(), output.storage_offset() - base.storage_offset()
        self._sum: Tensor | None = None

    @property
    def overwritten(self) -> bool:
        """Whether it was changed in place since."""
        return self._alias._version != self._version

    def add(self, gradient: Tensor, of_base: bool, deliver: Callable[[Tensor], None]) -> None:
        """Gather what comes in this backward pass, and deliver the sum at its end. ``of_base``: the gradient of the
        whole base, however it lies in memory, of which the view's part counts.
        """
        gradient = gradient.detach()
        if of_base:
            shape, stride = self._base
            if gradient.stride() != stride:
                laid = torch.empty_strided(shape, stride, dtype=gradient.dtype, device=gradient.device)
                gradient = laid.copy_(gradient)
            gradient = gradient.as_strided(*self._region)
        if self._sum is not None:
            self._sum += gradient
            return
        self._sum = gradient.clone()

        def end() -> None:
            total, self._sum = self._sum, None
            if total is not None:
                deliver(total)

        observe.at_end_of_backward(end)
