"""Size, jump and padding of fields as if the input went on for ever in all directions.

Per value and input axis the geometry is ``(axis, jump, low, high)``: unit u along that axis of the value sees the input
from ``jump * u + low`` to ``jump * u + high``; axis None: every unit sees ``low`` to ``high``. None where there are no
such numbers. See Araujo, Norris, Sim, Computing Receptive Fields of Convolutional Neural Networks, Distill 2019.
"""

from __future__ import annotations

from fractions import Fraction

from .axis_maps import AxisMap, Taps
from .graph import Run, Value
from .links import Link, Separable, Several, Source
from .walk import Walk

Line = tuple[int | None, Fraction, Fraction, Fraction] | None
Number = int | float | None


class Geometry:
    """The geometries of all values of a run along the input axes ``axes``, found as they are asked for."""

    def __init__(self, walk: Walk, axes: tuple[int, ...]) -> None:
        self.axes = axes
        run: Run = walk.run
        zero = Fraction(0)
        sizes = [run.input.shape[axis] for axis in axes]
        run.input.geometry = [(axis, Fraction(1), zero, zero) for axis in axes]
        for node in run.nodes:
            if not node.depends:
                continue
            for output in node.outputs:
                lines: list[list[Line]] = []
                links: list[Link] = []
                for step in walk.steps(node, output.number):
                    before = step.value.geometry
                    if before is not None:
                        lines.append(_through(step.link, before))
                        links.append(step.link)
                joined = [_joined([line[a] for line in lines]) for a in range(len(axes))] if lines else None
                if joined and node.name == "write_memory":
                    joined = [_on_a_ring([line[a] for line in lines], links, size) for a, size in enumerate(sizes)]
                output.geometry = joined

    def numbers(self, value: Value) -> tuple[tuple[Number, ...], tuple[Number, ...], tuple[Number, ...]]:
        """Size, jump and padding per input axis."""
        lines: list[Line] = value.geometry or [None] * len(self.axes)
        sizes = tuple(None if line is None else _plain(line[3] - line[2] + 1) for line in lines)
        jumps = tuple(None if line is None or line[0] is None else _plain(line[1]) for line in lines)
        paddings = tuple(None if line is None or line[0] is None else _plain(-line[2]) for line in lines)
        return sizes, jumps, paddings


def _plain(number: Fraction) -> Number:
    return int(number) if number.denominator == 1 else float(number)


def _joined(lines: list[Line]) -> Line:
    """The smallest line that holds all: there is one only if they keep step."""
    first = lines[0]
    if first is None or any(line is None or line[:2] != first[:2] for line in lines):
        return None
    every = [line for line in lines if line is not None]
    return first[0], first[1], min(line[2] for line in every), max(line[3] for line in every)


def _on_a_ring(lines: list[Line], links: list[Link], size: int) -> Line:
    """What was there before and what was written, if they differ by whole turns of the input: circular padding."""
    first = lines[0]
    for line, link in zip(lines[1:], links[1:], strict=True):
        if first is None or line is None or first[0] is None:
            return None
        axis, jump, low, high = line
        if axis is None and isinstance(link, Separable) and link.within is not None:
            # A single position was written: where the first line would put it.
            position = int(link.within[first[0]][1][0].argmax())
            axis, jump, low, high = *first[:2], low - first[1] * position, high - first[1] * position
        if (axis, jump, high - low) != (*first[:2], first[3] - first[2]) or (low - first[2]) % size:
            return None
    return first


def _through(link: Link, lines: list[Line]) -> list[Line]:
    if isinstance(link, Several):
        parts = [_through(part, lines) for part in link.links]
        return [_joined([part[a] for part in parts]) for a in range(len(lines))]
    sources = link.sources()
    if sources is None:
        return [None] * len(lines)
    return [_follow(sources, line, link) for line in lines]


def _follow(sources: list[Source], line: Line, link: Link) -> Line:
    """How a line over an input of a link looks from its output."""
    if line is None:
        return None
    axis, jump, low, high = line
    if axis is None:
        return line
    out, how = sources[axis]
    if out is None:
        if how is None or isinstance(how, AxisMap):
            # The whole axis: sizes beyond the edges have no meaning. An axis of length 1 has no other position.
            return (None, jump, low, high) if link.in_shape[axis] == 1 else None
        chosen = [index for index, hit in enumerate(how[0]) if hit]
        if not chosen:
            return None
        return None, jump, jump * chosen[0] + low, jump * chosen[-1] + high
    if how is None:
        return out, jump, low, high
    if not isinstance(how, AxisMap) or how.affine is None:
        if isinstance(how, Taps) and how.num_out == how.num_in == 1:
            return out, jump, low, high
        return None
    step, first, last = how.affine
    return out, jump * step, jump * first + low, jump * last + high
