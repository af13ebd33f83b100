"""What stays attached between samples: it counts steps, and asks only now and then whether a sample is due.

With an optimizer that is a hook behind its steps. Without one it is a hook that waits for the next backward pass and
then, in its place, one that waits for the next forward.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .. import observe
from .passes import ordinary
from .rhythm import Rhythm

#: Of steps shorter than this many seconds the trigger skips so many before it looks at the clock again.
FAST, SKIP = 1e-3, 15
#: About what torch takes for a hook at one node of the graph, in seconds.
ARRIVAL = 1.5e-6


class Trigger:
    """Calls ``count`` for each step that ends while no sample can be due."""

    def __init__(self, rhythm: Rhythm, count: Callable[[], None]) -> None:
        self.armed = False
        self._rhythm, self._count = rhythm, count
        self._compiling = False  # whether anything could have been compiled when it was armed
        self._awaited: list[Any] = []  # parameters
        self._nodes: list[Any] = []  # of the graph, held so that a hook on them lasts
        self._handles: list[observe.Handle] = []
        self._switch: observe.ForwardSwitch | None = None

    def lasts(self) -> bool:
        """Whether it is armed, and as well as it could be now."""
        return self.armed and self._compiling == observe.compiling() and all(p.requires_grad for p in self._awaited)

    def disarm(self) -> None:
        """Remove whatever is attached."""
        observe.remove(self._handles)
        self.forward_seen()
        self._handles, self._nodes, self._awaited, self._switch, self.armed = [], [], [], None, False

    @property
    def backward_seen(self) -> bool:
        """Whether there was a backward pass since the last forward, where that is what it waits for."""
        return self._switch is not None and self._switch.is_on

    def forward_seen(self) -> None:
        """Wait for the next backward pass."""
        if self._switch is not None:
            self._switch.remove()

    def after_steps(self, leader: torch.optim.Optimizer | None, passed: Callable[..., None]) -> Callable[..., None]:
        """The hook behind optimizers' steps. ``passed`` is called with its arguments where more is to be asked than
        the time: a sample may be due, or this is not the ``leader``.

        It is part of every step, so most are only counted, and of fast ones few are timed.
        """
        self.armed, self._compiling = True, observe.compiling()
        rhythm, clock, compiling, count = self._rhythm, self._rhythm.clock, observe.compiling, self._count
        last, skip, skipped = clock(), 0, 0
        if leader is not None and observe.nests(leader):
            leader = None
        leads = None if leader is None else id(leader)

        def hook(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
            nonlocal last, skip, skipped
            began = clock() if skipped >= skip else 0.0
            if id(optimizer) == leads and compiling() is self._compiling:
                if not began:
                    skipped += 1
                    count()
                    return
                if began < rhythm.not_before:
                    rhythm.spent += (clock() - began) * skipped  # about what one that is skipped takes
                    count()
                    skip, last = SKIP if began - last < FAST * (skipped + 1) else 0, began
                    skipped = 0
                    rhythm.spent += clock() - began
                    return
            skipped = 0
            passed(optimizer, args, kwargs)

        return observe.opaque(hook)

    def before_forwards(
        self, model: nn.Module, parameters: list[Any], leaves: bool, passed: Callable[[nn.Module, Any], None]
    ) -> None:
        """Wait for a backward pass to reach one of ``parameters``, and then for the next forward.

        ``leaves``: also where gradients are taken by ``torch.autograd.grad``, which only hooks on the parameters
        themselves notice. ``passed`` is called with module and arguments where more is to be asked than the time.
        """
        self.armed, self._compiling = True, observe.compiling()
        rhythm, clock, compiling, count = self._rhythm, self._rhythm.clock, observe.compiling, self._count
        toll = len(parameters) * ARRIVAL

        def forward(module: nn.Module, args: Any) -> None:
            began = clock()
            if module is model and began < rhythm.not_before and compiling() is self._compiling:
                if model.training and ordinary() and torch._C._current_graph_task_id() == -1:
                    switch.remove()
                    count()
                    rhythm.spent += 2 * (clock() - began) + toll
            else:
                passed(module, args)

        switch = self._switch = observe.ForwardSwitch(observe.opaque(forward))

        def arrives(gradients: tuple[Tensor | None, ...] | Tensor) -> None:
            del gradients
            if not switch.is_on:  # the first of a backward pass is enough, and the others should cost nothing
                switch.on()

        self._awaited = parameters
        if leaves:
            self._handles = [observe.on_leaf(p, arrives) for p in parameters]
        else:
            self._nodes = [observe.graph_node(p) for p in parameters]
            self._handles = [observe.on_gradient(node, arrives) for node in self._nodes]
