"""Ops without a rule: tried out where they are small, else answered with everything."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .graph import Node, Value, leaves
from .links import Gather, Link
from .rules_layout import everywhere

LARGEST_PROBE = 2048
"""An op is tried out one number at a time if its inputs have at most so many."""

NUM_DRAWS = 4

_relations: dict[Any, list[np.ndarray] | None] = {}


def unknown(node: Node, number: int) -> list[tuple[Any, Link]]:
    """Exact if changing every number in turn and making it NaN reach the same outputs; else a superset."""
    values = [item for item in node.inputs if item.depends]
    sizes = [math.prod(value.shape) for value in values]
    out_shape = node.outputs[number].shape
    if sum(sizes) > LARGEST_PROBE or not all(value.dtype.is_floating_point for value in values):
        return everywhere(node, number, node.name)
    key = signature(node, number)
    if key not in _relations:
        try:
            _relations[key] = probe(node, number, values)
        except Exception:
            # Whatever the op says to made-up numbers: then it cannot be tried out.
            _relations[key] = None
    relations = _relations[key]
    if relations is None:
        return everywhere(node, number, node.name)
    return [
        (value, Gather(out_shape, value.shape, table_of(relation)))
        for value, relation in zip(values, relations, strict=True)
    ]


def signature(node: Node, number: int) -> Any:
    """What the relation depends on: the op, the shapes and the constants."""

    def described(item: Any) -> Any:
        if isinstance(item, Value):
            return item.shape, item.dtype, item.depends
        if isinstance(item, Tensor):
            return item.shape, item.dtype, item.detach().cpu().numpy().tobytes()
        return repr(item)

    return node.func, number, tuple(described(item) for item in leaves((node.args, node.kwargs)))


def probe(node: Node, number: int, values: list[Value]) -> list[np.ndarray] | None:
    """Per value the relation (output number, input number), or None if the two ways disagree."""
    changed = [np.zeros((math.prod(node.outputs[number].shape), math.prod(value.shape)), np.bool_) for value in values]
    poisoned = [found.copy() for found in changed]
    generator = torch.Generator().manual_seed(0)
    for draw in range(NUM_DRAWS):
        numbers = {
            id(value): torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value.dtype)
            for value in node.inputs
        }
        base = run(node, number, numbers)
        if not torch.equal(base.nan_to_num(), run(node, number, numbers).nan_to_num()):
            return None
        for value, moved, spread in zip(values, changed, poisoned, strict=True):
            numbers_of = numbers[id(value)]
            for place in range(numbers_of.numel()):
                for found, step in ((moved, 10.0 ** (draw - 1)), (moved, -(10.0**draw)), (spread, float("nan"))):
                    other = numbers_of.clone()
                    other.view(-1)[place] += step
                    result = run(node, number, {**numbers, id(value): other})
                    different = result != base
                    found[:, place] |= (different & ~(result.isnan() & base.isnan())).reshape(-1).numpy()
    if any((one != other).any() for one, other in zip(changed, poisoned, strict=True)):
        return None
    return changed


def run(node: Node, number: int, numbers: dict[int, Tensor]) -> Tensor:
    """One output of the op on made-up numbers."""

    def filled(item: Any) -> Any:
        if isinstance(item, Value):
            return numbers[id(item)].clone()
        if isinstance(item, Tensor):
            return item.clone()
        if isinstance(item, (list, tuple)):
            return [filled(part) for part in item]
        return item

    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        result = node.func(*map(filled, node.args), **{key: filled(item) for key, item in node.kwargs.items()})
    result = result[number] if isinstance(result, (list, tuple)) else result
    found: Tensor = result.detach().double()
    return found


def table_of(relation: np.ndarray) -> np.ndarray:
    """The input numbers that each output reads, padded with -1."""
    most = max(int(relation.sum(axis=1).max(initial=0)), 1)
    order = np.argsort(~relation, axis=1, kind="stable")[:, :most]
    return np.where(np.take_along_axis(relation, order, axis=1), order, -1)
