"""How much of a shared parameter's gradient each call of a module contributes.

A parameter that is used several times gets one gradient, the sum over its uses. In the autograd graph that sum is made
where several edges lead to the parameter; what travels along one edge is the contribution of one use. So the graph
behind a call's output is walked back as far as the outputs of other calls, and the edges that lead to the parameter
are tapped.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

#: Nodes looked at per call before giving up: an unrolled recurrent network can have very many.
MOST_NODES = 4000

#: What is noted on nodes that are no longer held: whether calls ended there, or were walked through.
NOTE, OUTPUT, WALKED = "dlwidgets.gradient_flow", 1, 2

#: A contribution: which parameter (by identity) and which position (by index) made it.
Key = tuple[int, int]


@dataclass(eq=False, slots=True)
class Gate:
    """Whether what comes through a tap still counts."""

    open: bool = True


@dataclass(eq=False, slots=True)
class Tap:
    """An edge of the graph: input ``slot`` of ``node``. What travels there is of ``key`` while the gate is open."""

    node: Any
    slot: int
    key: Key
    order: int  # of the call
    gate: Gate = field(default_factory=Gate)


@dataclass(eq=False, slots=True)
class _Visit:
    """How the walk came to a node: on behalf of which position and call, over which edge."""

    position: int
    order: int
    node: Any
    slot: int


@dataclass(eq=False, slots=True)
class Call:
    """One call of a module in a forward pass: the nodes of its outputs and of what entered it.

    ``order`` counts calls by their ends. Calls from ``since`` on, and before this one, were made inside it.
    """

    position: int
    nodes: list[Any]
    inputs: set[Any]
    order: int
    since: int


@dataclass(eq=False)
class Graph:
    """The part of the graph of one step that has been walked; nodes are held so that their identities stay theirs."""

    outputs: dict[Any, int] = field(default_factory=dict)  # of calls: the order of the first that it is one of
    visits: dict[Any, _Visit] = field(default_factory=dict)
    taps: list[Tap] = field(default_factory=list)
    common: dict[Any, set[int]] = field(
        default_factory=dict
    )  # nodes that several calls lead to: parameters behind them
    uses: dict[Key, int] = field(default_factory=dict)  # how many edges make one contribution
    unsplit: set[int] = field(default_factory=set)  # parameters of which not every contribution can be told
    let_go: bool = False  # whether anything was

    def let_nodes_go(self) -> None:
        """Hold no node any longer: most graphs are dropped by those who made them, and their memory is to be free.

        What is tapped stays tapped. The nodes are noted as known, so that a later walk that needs more of them than
        that can tell.
        """
        for known, note in ((self.visits, WALKED), (self.outputs, OUTPUT)):
            for node in known:
                node.metadata[NOTE] = note
            known.clear()
        self.common.clear()
        self.taps.clear()
        self.let_go = True

    def register(self, call: Call) -> None:
        """The walks of later calls end at its outputs."""
        for node in call.nodes:
            self.outputs.setdefault(node, call.order)

    def taps_of(self, call: Call, parameters: set[int]) -> list[Tap]:
        """Tap the edges over which ``call`` contributes to ``parameters``, given by identity.

        The walk ends where the call's inputs come in, and at the outputs of calls that were not made inside it. Returns
        the new taps, each of which wants a hook (`listen`). Where two calls lead to one node (a weight cast once by
        autocast, say) each is tapped on its own edge to that node.
        """
        taps: list[Tap] = []
        position, since = call.position, call.since
        seen = set(call.nodes)
        stack = list(call.nodes)
        while stack:
            node = stack.pop()
            for slot, (behind, _) in enumerate(node.next_functions):
                if behind is None:
                    continue
                variable = getattr(behind, "variable", None)
                if isinstance(variable, Tensor):
                    if id(variable) in parameters:
                        taps.append(Tap(node, slot, (id(variable), position), call.order))
                elif behind in self.common:
                    taps += [Tap(node, slot, (p, position), call.order) for p in self.common[behind] & parameters]
                elif behind in seen or behind in call.inputs or self.outputs.get(behind, since) < since:
                    continue
                elif self._is_anothers(behind, call):
                    taps += self._meet(behind, node, slot, call, parameters)
                elif self.let_go and NOTE in behind.metadata:
                    if behind.metadata[NOTE] == WALKED:  # two calls lead there, and the other's edge is not known
                        self.unsplit |= self._beneath(behind)[1] & parameters
                elif len(seen) >= MOST_NODES:
                    return []
                else:
                    seen.add(behind)
                    self.visits.setdefault(behind, _Visit(position, call.order, node, slot))
                    stack.append(behind)
        uses: dict[Key, int] = {}
        for tap in taps:
            uses[tap.key] = uses.get(tap.key, 0) + 1
        for key, number in uses.items():
            self.uses[key] = max(number, self.uses.get(key, 0))
        taps = [self._lift(tap, position) if uses[tap.key] == 1 else tap for tap in taps]
        self.taps += taps
        return taps

    def _is_anothers(self, node: Any, call: Call) -> bool:
        """Whether a call came to ``node`` that was not made inside this one."""
        visit = self.visits.get(node)
        return visit is not None and visit.order != call.order and visit.order < call.since

    def _meet(self, behind: Any, node: Any, slot: int, call: Call, parameters: set[int]) -> list[Tap]:
        beneath, reached = self._beneath(behind)
        first = self.visits[behind]
        for tap in self.taps:
            if tap.node in beneath:
                tap.gate.open = False
        self.common[behind] = reached
        known = {(tap.node, tap.slot, tap.key) for tap in self.taps if tap.gate.open}
        taps = [Tap(node, slot, (p, call.position), call.order) for p in reached & parameters]
        for p in reached & parameters:
            if (first.node, first.slot, (p, first.position)) not in known:
                taps.append(Tap(first.node, first.slot, (p, first.position), first.order))
        return taps

    def _beneath(self, node: Any) -> tuple[set[Any], set[int]]:
        """The nodes from ``node`` back to the outputs of calls, and the parameters found there."""
        beneath, reached = {node}, set()
        stack = [node]
        while stack:
            for deeper, _ in stack.pop().next_functions:
                variable = getattr(deeper, "variable", None)
                if isinstance(variable, Tensor):
                    reached.add(id(variable))
                elif deeper is not None and deeper not in beneath and deeper not in self.outputs:
                    beneath.add(deeper)
                    stack.append(deeper)
        return beneath, reached

    def _lift(self, tap: Tap, position: int) -> Tap:
        # A transposition changes no norm: tapping in front of it spares a hook of its own.
        visit = self.visits.get(tap.node)
        if visit is not None and visit.position == position and type(tap.node).__name__ == "TBackward0":
            return Tap(visit.node, visit.slot, tap.key, tap.order)
        return tap


def listen(tap: Tap, take: Callable[[Key, int, Tensor], None]) -> Callable[[Any, Any], None]:
    """A hook for the tap's node that hands on what travels along its edge."""

    # The hook must not know the node, which knows the hook: no garbage collector sees that cycle.
    slot, key, order, gate = tap.slot, tap.key, tap.order, tap.gate

    def hook(grad_inputs: Any, grad_outputs: Any) -> None:
        del grad_outputs
        gradient = grad_inputs[slot]
        if gradient is not None and gate.open:
            take(key, order, gradient)

    return hook
