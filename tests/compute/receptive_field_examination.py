"""One case, examined: what the engine answers, what the oracle finds, and the differences in words."""

from __future__ import annotations

from collections import Counter
from itertools import product
from typing import Any

import torch
from receptive_field_oracle import Case, Oracle, Target, photograph, tight_box
from torch import Tensor

from dlwidgets.compute.receptive_field import trace


def units_of(sizes: tuple[int, ...], most: int) -> list[tuple[int, ...]]:
    """All units, or where there are more than ``most``: the corners, the middle, and some in between."""
    units = list(product(*map(range, sizes)))
    if len(units) <= most:
        return units
    chosen = [units[0], units[-1], tuple(size // 2 for size in sizes), *units[1 :: max(1, len(units) // most)]]
    return list(dict.fromkeys(chosen))


def faults_of_form(found: Any, sizes: tuple[int, ...]) -> list[str]:
    """What is wrong with a field by itself: count, box, status and reason must fit the mask."""
    faults = []
    if found.mask.dtype != torch.bool or tuple(found.mask.shape) != sizes or found.mask.device.type != "cpu":
        faults.append(f"mask is {found.mask.dtype} {tuple(found.mask.shape)}, expected bool {sizes}")
    if found.count != int(found.mask.sum()):
        faults.append(f"count {found.count}, the mask holds {int(found.mask.sum())}")
    if found.box != tight_box(found.mask):
        faults.append(f"box {found.box}, the mask's is {tight_box(found.mask)}")
    if found.status not in ("exact", "bound"):
        faults.append(f"status {found.status!r}")
    if found.status == "bound" and not found.because:
        faults.append("bound without a reason")
    return faults


def dots(mask: Tensor) -> str:
    """A mask as text."""
    return str(mask.int().tolist())


class Examination:
    """One case: what the engine says, what the oracle finds, and the differences in words."""

    def __init__(self, case: Case, most_units: int = 36) -> None:
        self.case = case
        self.most_units = most_units
        self.faults: list[str] = []
        self.statuses: Counter[str] = Counter()
        self.reasons: set[str] = set()
        self.oracle = Oracle(case)
        self.oracle.perturb()
        self.oracle.perturb()
        self.claims: list[tuple[str, Any, Any]] = []
        model, arguments = case.model(), case.arguments()
        before = photograph(model, arguments)
        self.net = trace(model, arguments[0] if len(arguments) == 1 else arguments, axes=case.axes)
        for target in [None, *((layer.name, layer.call) for layer in self.net.layers)]:
            if target in self.oracle.reached:
                self.ask(target)
        after = photograph(model, arguments)
        self.faults += [f"changed by looking: {key}" for key in before if before[key] != after[key]]
        self.judge()

    def fault(self, what: str, faults: list[str]) -> None:
        self.faults += [f"{what}: {fault}" for fault in faults]

    def ask(self, target: Target) -> None:
        """Collect the engine's answers about one output."""
        oracle, net = self.oracle, self.net
        given = self.case.output_axes if target is None else None
        sizes = oracle.unit_sizes(target, given)
        keywords: dict[str, Any] = {"layer": target, "output_axes": given}
        shape, axes = oracle.shape(target), oracle.output_axes(target, given)
        channels = [shape[axis] for axis in range(1, len(shape)) if axis not in axes]
        fields: dict[tuple[int, ...], Any] = {}
        for unit in units_of(sizes, self.most_units if target is None else 3):
            for channel in [None, channels[0] - 1] if channels and len(fields) < 3 else [None]:
                found = net.field(unit, channel=channel, **keywords)
                if channel is None:
                    fields[unit] = found
                what = f"{target or 'output'} unit {unit} channel {channel}"
                self.fault(what, faults_of_form(found, oracle.sizes))
                self.claims.append((what, found, lambda u=unit, c=channel: oracle.field(target, u, c, given)))
        if target is None and self.case.differentiable:
            for unit in list(fields)[:2]:
                missed = oracle.differentiate(unit) & ~fields[unit].mask
                self.fault(f"output unit {unit}", [f"MISSES a gradient at {dots(missed)}"] if missed.any() else [])
        for pixel in units_of(oracle.sizes, 4)[: 4 if target is None else 1]:
            for channel in [None, 0] if channels else [None]:
                found = net.projection(pixel, channel=channel, **keywords)
                what = f"{target or 'output'} projection of {pixel} channel {channel}"
                self.fault(what, faults_of_form(found, sizes))
                self.claims.append((what, found, lambda p=pixel, c=channel: oracle.projection(target, p, c, given)))
        if given is None:
            self.check_size_map(target, sizes, fields)

    def check_size_map(self, target: Target, sizes: tuple[int, ...], fields: dict[tuple[int, ...], Any]) -> None:
        """The map of sizes must repeat what the fields say."""
        size_map = self.net.size_map(layer=target)
        expected_shape = (*sizes, len(self.oracle.sizes))
        if size_map.dtype != torch.int64 or tuple(size_map.shape) != expected_shape:
            self.faults.append(f"{target} size_map is {size_map.dtype} {tuple(size_map.shape)}, not {expected_shape}")
            return
        for unit, found in fields.items():
            extents = [stop - start for start, stop in found.box] if found.box else [0] * len(self.oracle.sizes)
            if size_map[unit].tolist() != extents:
                self.faults.append(f"{target} size_map at {unit} is {size_map[unit].tolist()}, the field's {extents}")

    def judge(self) -> None:
        """Draw until everything called exact has been seen, or the draws are spent; then compare."""
        exact = [] if self.case.cancels else [claim for claim in self.claims if claim[1].status == "exact"]
        while self.oracle.num_draws < self.case.draws and any((f.mask & ~truth()).any() for _, f, truth in exact):
            self.oracle.perturb()
        for what, found, truth in self.claims:
            self.statuses[found.status] += 1
            self.reasons.add(found.because)
            if found.mask.shape != truth().shape:
                continue
            if (truth() & ~found.mask).any():
                self.faults.append(f"{what}: MISSES {found.status} {dots(found.mask)}, seen {dots(truth())}")
            elif found.status == "exact" and not self.case.cancels and (found.mask & ~truth()).any():
                self.faults.append(f"{what}: TOO MUCH {dots(found.mask)}, seen {dots(truth())}")
