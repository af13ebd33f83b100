"""Where the gradient of a module's output arrives in the graph, also if the output is a view that is overwritten."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .. import observe

Gradients = tuple[Tensor | None, ...]


class Arrival:
    """The hook at the node behind one output of one call: hands the gradient of that output on.

    ``forward`` is the number of the forward pass.
    """

    __slots__ = ("_deliver", "_gather", "_slot", "_task", "_view", "forward", "position")

    def __init__(
        self, deliver: Callable[["Arrival", Tensor], None], position: int, forward: int, output: Tensor
    ) -> None:
        self.position, self.forward = position, forward
        self._deliver = deliver
        self._slot = output.output_nr
        self._task = -1  # the last backward pass that reached the node
        self._view: View | None = None
        self._gather: Callable[..., None] = View.add

    def __call__(self, gradients: Gradients) -> None:
        """The gradients of the node's outputs have arrived."""
        gradient = gradients[self._slot]
        if gradient is not None:
            self._task = torch._C._current_graph_task_id()
            if self._view is None or not self._view.spliced:
                self._deliver(self, gradient)
            else:
                self._gather(self._view, gradient, False, self._whole)

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
        self._task = -1  # the backward pass that it is of

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
        task = torch._C._current_graph_task_id()
        if self._sum is not None and self._task == task:  # an earlier backward pass may have failed
            self._sum += gradient
            return
        self._sum, self._task = gradient.clone(), task

        def end() -> None:
            total, self._sum = self._sum, None
            if total is not None:
                deliver(total)

        observe.at_end_of_backward(end)
