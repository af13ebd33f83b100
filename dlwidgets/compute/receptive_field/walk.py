"""Walking back through the graph: from positions of one tensor to the positions of the input that they read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .graph import Node, Run, Value
from .links import Link, Masked, Reshape, Several
from .regions import Region, union
from .rulebook import RULES
from .rules_fallback import unknown
from .rules_layout import everywhere
from .rules_values import pointwise, whole_axes


@dataclass(frozen=True, eq=False)
class Step:
    """What one output of a node reads in one of its inputs."""

    value: Value
    link: Link
    bound: str
    whole: frozenset[int]


class Walk:
    """The graph of a run, ready to be walked back."""

    def __init__(self, run: Run, axes: tuple[int, ...]) -> None:
        self.run = run
        self._positions: dict[Value, frozenset[int]] = {run.input: frozenset(axes)}
        self._num_followed = 0
        self._free: dict[Value, Masked] = {}

    def steps(self, node: Node, number: int) -> list[Step]:
        """What output ``number`` of ``node`` reads; found once."""
        if number not in node.links:
            rule = RULES.get(node.name)
            if rule is None:
                rule = pointwise if node.pointwise else unknown
            try:
                pairs = rule(node, number)
            except Exception:
                # An unforeseen form of an op: a superset, never an error for who only asks.
                pairs = everywhere(node, number, node.name)
            found = [pair for pair in pairs if isinstance(pair[0], Value) and pair[0].depends]
            # A convolution reads all channels: that is no reason to call it global.
            local = node.name == "convolution"
            node.links[number] = [
                Step(value, link, link.bound, frozenset() if local else frozenset(whole_axes(link)))
                for value, link in found
            ]
        steps: list[Step] = node.links[number]
        return steps

    def back(self, value: Value, region: Region) -> tuple[Region, str, str]:
        """The region of the input that ``region`` of ``value`` reads; the op that makes it a bound, if one does; and
        the first op on the way that reads whole axes."""
        needed: dict[Value, Region] = {value: region}
        bound = whole = ""
        found = Region(self.run.input.shape, [])
        nodes = self.run.nodes
        if value is self.run.input:
            return region, "", ""
        # Whoever needs a value was made later than it: nodes in the opposite order of time.
        todo = {id(value.node)} if value.node is not None else set()
        position = value.time - 1
        while position >= 0 and todo:
            node = nodes[position]
            position -= 1
            if id(node) not in todo:
                continue
            todo.discard(id(node))
            for output in node.outputs:
                reached = needed.pop(output, None)
                if reached is None or not reached:
                    continue
                reached = self._clip(output, reached)
                if not reached:
                    continue
                for step in self.steps(node, output.number):
                    read = step.link.back(reached)
                    if not read:
                        continue
                    bound = bound or step.bound
                    if step.whole and not whole and step.whole & self.positions(step.value):
                        whole = node.name
                    if step.value is self.run.input:
                        found = union(found, read)
                    else:
                        needed[step.value] = union(needed.get(step.value), read)
                        todo.add(id(step.value.node))
        return found, bound, whole

    def positions(self, value: Value) -> frozenset[int]:
        """The axes of a value along which positions of the input are spread."""
        for node in self.run.nodes[self._num_followed : value.time]:
            for output in node.outputs if node.depends else ():
                axes: set[int] = set()
                for step in self.steps(node, output.number):
                    axes |= _followed(step.link, self._positions.get(step.value, frozenset()))
                self._positions[output] = frozenset(axes)
        self._num_followed = max(self._num_followed, value.time)
        return self._positions.get(value, frozenset())

    def _clip(self, value: Value, region: Region) -> Region:
        """Without the positions whose numbers are certain anyway."""
        if value.known is None:
            return region
        if value not in self._free:
            self._free[value] = Masked(np.asarray(~value.known.mask.numpy()))
        return self._free[value].back(region)


def _followed(link: Link, axes: frozenset[int]) -> set[int]:
    """The output axes of a link that follow some of the input's ``axes``."""
    if isinstance(link, Several):
        return set().union(*(_followed(part, axes) for part in link.links))
    if isinstance(link, Reshape):
        return {out for outs, ins in link.groups if axes & set(ins) for out in outs}
    sources = link.sources()
    if sources is None:
        return set(range(len(link.out_shape))) if axes else set()
    return {out for axis, (out, _) in enumerate(sources) if out is not None and axis in axes}
