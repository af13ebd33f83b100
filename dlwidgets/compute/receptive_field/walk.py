"""Walking back through the graph: from positions of one tensor to the positions of the input that they read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import rules_indexing, rules_layout, rules_memory, rules_transforms, rules_values, rules_windows  # noqa: F401 (they fill the table)
from .graph import Node, Run, Value
from .links import Link, Masked
from .regions import Region, union
from .rules import RULES
from .rules_fallback import unknown
from .rules_values import is_global, pointwise


@dataclass(frozen=True, eq=False)
class Step:
    """What one output of a node reads in one of its inputs."""

    value: Value
    link: Link
    bound: str
    is_global: bool


class Walk:
    """The graph of a run, ready to be walked back."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._free: dict[Value, Masked] = {}

    def steps(self, node: Node, number: int) -> list[Step]:
        """What output ``number`` of ``node`` reads; found once."""
        if number not in node.links:
            rule = RULES.get(node.name)
            if rule is None:
                rule = pointwise if node.pointwise else unknown
            found = [pair for pair in rule(node, number) if isinstance(pair[0], Value) and pair[0].depends]
            node.links[number] = [Step(value, link, link.bound, is_global(link)) for value, link in found]
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
                    if step.is_global and not whole:
                        whole = node.name
                    if step.value is self.run.input:
                        found = union(found, read)
                    else:
                        needed[step.value] = union(needed.get(step.value), read)
                        todo.add(id(step.value.node))
        return found, bound, whole

    def _clip(self, value: Value, region: Region) -> Region:
        """Without the positions whose numbers are certain anyway."""
        if value.known is None:
            return region
        if value not in self._free:
            self._free[value] = Masked(np.asarray(~value.known.mask.numpy()))
        return self._free[value].back(region)
