"""How the field grows from layer to layer: what the strip below the pictures shows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float


class Sized(Protocol):
    """What is needed of a layer."""

    @property
    def size(self) -> tuple[float | None, ...] | None: ...
    @property
    def jump(self) -> tuple[float | None, ...] | None: ...


@dataclass(frozen=True, eq=False)
class Growth:
    """One entry a layer, in execution order, each the largest over the input's axes of positions.

    Attributes:
        size: the unclipped field size in input positions; where no such number exists, that of the middle unit's box.
        jump: input positions between neighbouring units; nan where no such number exists.
        known: whether ``size`` is the size of every unit's field, and not one unit's, measured for want of a number.
        exceeds: whether the field is larger than the input on some axis, or is the whole input.
        most: index of the layer at which the size grew most over everything before it; None if it never grew.
        step: by how many positions it grew there; 0.0 if ``most`` is None.
    """

    size: Float[np.ndarray, "layer"]
    jump: Float[np.ndarray, "layer"]
    known: Bool[np.ndarray, "layer"]
    exceeds: Bool[np.ndarray, "layer"]
    most: int | None
    step: float


def growth(layers: Sequence[Sized], input_sizes: tuple[int, ...], measure: Callable[[int], tuple[int, ...]]) -> Growth:
    """Summarise ``layers`` for an input of ``input_sizes`` positions along each axis.

    ``measure(index)`` tells how far the box of the layer's middle unit extends on each axis; it is asked only where the
    layer has no size that holds for every unit, which alone does not make it global (pixel shuffling, rolling).
    With branches, "everything before" is the largest field of the layers executed earlier.
    """
    size = np.ones(len(layers))
    jump = np.full(len(layers), np.nan)
    known = np.zeros(len(layers), dtype=bool)
    exceeds = np.zeros(len(layers), dtype=bool)
    for index, layer in enumerate(layers):
        sizes = _numbers(layer.size)
        if sizes is not None and len(sizes):
            size[index], known[index] = max(sizes), True
            exceeds[index] = any(have > room for have, room in zip(sizes, input_sizes, strict=False))
        else:
            measured = measure(index)
            size[index] = max(measured, default=1)
            exceeds[index] = measured == input_sizes
        jumps = _numbers(layer.jump)
        if jumps is not None and len(jumps):
            jump[index] = max(jumps)
    before = np.maximum.accumulate(np.concatenate([[1.0], size]))[:-1]
    steps = size - before
    most = int(steps.argmax()) if len(steps) and steps.max() > 0 else None
    return Growth(size, jump, known, exceeds, most, 0.0 if most is None else float(steps[most]))


def _numbers(values: tuple[float | None, ...] | None) -> list[float] | None:
    if values is None or any(value is None for value in values):
        return None
    return [float(value) for value in values if value is not None]
