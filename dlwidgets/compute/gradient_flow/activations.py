"""The activations of one forward pass: collected in blocks, summed up a block at a time."""

import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .saturation import Saturation
from .sites import CHANNEL, Site
from .statistics import BLOCK, SLAB, Moments, Transfer, block_facts, facts, on_host
from .statistics import unit_layout as layout_of

#: Most rows in one block.
ROWS = 64
#: Outputs with more elements than this are read where they are, in slabs.
LARGE = BLOCK // 4


def tensors_in(output: Any, depth: int = 4) -> list[Tensor]:
    """The floating-point tensors of a module's output, each once: tensor, tuple, list, mapping or dataclass, nested or
    not.
    """
    found: dict[int, Tensor] = {}
    _search(output, depth, found)
    return list(found.values())


def _search(output: Any, depth: int, found: dict[int, Tensor]) -> None:
    if isinstance(output, Tensor):
        if _readable(output):
            found[id(output)] = output
    elif depth == 0:
        return
    elif isinstance(output, Mapping):
        for value in output.values():
            _search(value, depth - 1, found)
    elif isinstance(output, (tuple, list)):
        for value in output:
            _search(value, depth - 1, found)
    elif is_dataclass(output) and not isinstance(output, type):
        for entry in fields(output):
            _search(getattr(output, entry.name, None), depth - 1, found)


def _readable(x: Tensor) -> bool:
    """Whether the values of ``x`` can be read: not integers, not sparse, neither fake nor inside a transform."""
    return (
        (x.is_floating_point() or x.is_complex())
        and x.layout == torch.strided
        and x.dtype.itemsize > 1  # torch calculates with no float8
        and x.device.type != "meta"
        and not x.is_nested
        and type(x).__torch_dispatch__ is Tensor.__torch_dispatch__
        and not torch._C._functorch.is_functorch_wrapped_tensor(x)
    )


class Block:
    """Outputs of equal shape, waiting side by side."""

    def __init__(self, like: Tensor, lane: "Lane") -> None:
        outer, units, inner = lane.layout
        num_rows = max(1, min(ROWS, BLOCK // like.numel()))
        self.rows = torch.empty((num_rows, outer, units, inner), dtype=lane.wide, device=like.device)
        self.views = list(self.rows.view(num_rows, *like.shape).unbind(0))
        self.saturation, self.here = lane.rule, lane.here
        self.owners: list[int] = []


class Lane:
    """How the outputs at one position are read, as long as they are alike."""

    __slots__ = ("axis", "block", "device", "dtype", "here", "inherited", "layout", "rule", "shape", "wide")

    def __init__(self, site: Site, x: Tensor, inherited: int) -> None:
        self.shape, self.dtype, self.device, self.inherited = x.shape, x.dtype, x.device, inherited
        self.here = on_host(x.device)
        self.wide = torch.float64 if x.dtype in (torch.float64, torch.complex128) else torch.float32
        shape = torch.Size((*x.shape, 2)) if x.is_complex() else x.shape or torch.Size((1,))
        num_axes, layout = len(shape), inherited if site.layout is None else site.layout
        if num_axes <= 2:
            self.axis = num_axes - 1
        else:
            self.axis = 1 if layout == CHANNEL else max(num_axes - 1 - layout, 0)
        self.layout = layout_of(shape, self.axis)
        self.rule = None if site.saturation is None or site.saturation.of_input else site.saturation
        self.block: Block | None = None


class Activations:
    """Collects what the modules put out; `flush` pools it into the moments of the forward pass under way."""

    def __init__(self) -> None:
        self.lively: set[int] = set()  # positions none of whose units is dead: nobody need look again
        self._lanes: dict[int, Lane] = {}
        self._blocks: dict[tuple[object, ...], Block] = {}
        self._shifts: dict[int, float] = {}
        self._scratch: dict[torch.dtype, Tensor] = {}
        self._layout = CHANNEL
        self._moments = Moments()
        self._transfer = Transfer()

    def begin(self, moments: Moments, transfer: Transfer) -> None:
        """Everything added from now on belongs to ``moments``; what still waits in blocks is dropped."""
        for block in self._blocks.values():
            block.owners.clear()
        self._moments, self._transfer, self._layout = moments, transfer, CHANNEL

    def add(self, position: int, site: Site, x: Tensor) -> None:
        """Take the output ``x`` (detached) of ``site`` at ``position``: its values may change right afterwards."""
        self._moments.expect(position)
        inherited = self._layout
        if site.layout is not None:
            self._layout = site.layout
        lane = self._lanes.get(position)
        if (
            lane is None
            or lane.shape != x.shape
            or lane.dtype is not x.dtype
            or lane.inherited != inherited
            or lane.device != x.device
        ):
            lane = self._lanes[position] = Lane(site, x, inherited)
            if 0 < x.numel() <= LARGE and x.dim() and not x.is_complex():
                lane.block = self._block(x, lane)
        block = lane.block
        if block is None:
            self._slabs(position, x, lane)
            return
        if len(block.owners) == len(block.views):
            self._sum_up(block)
        block.views[len(block.owners)].copy_(x)
        block.owners.append(position)

    def _slabs(self, position: int, x: Tensor, lane: Lane) -> None:
        axis = lane.axis
        if x.numel() == 0:
            return
        x = x.resolve_neg()
        if x.dtype is not lane.wide:
            x = torch.view_as_real(x.resolve_conj()) if x.is_complex() else x.to(lane.wide)
        if axis == 1 and x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
            x, axis = x.permute(0, 2, 3, 1), 3
        outer, units, inner = layout_of(x.shape or torch.Size((1,)), axis)
        whole = x.contiguous().view(outer, units, inner)
        # what was written last is still in a cache
        for slab in reversed(whole.split(max(1, SLAB // (units * inner)))):
            self._facts(slab.unsqueeze(0), [position], lane.rule, lane.here)

    def _block(self, x: Tensor, lane: Lane) -> Block:
        key = (x.shape, x.dtype, x.device, lane.axis, None if lane.rule is None else lane.rule.key)
        block = self._blocks.get(key)
        if block is None:
            block = self._blocks[key] = Block(x, lane)
        return block

    def add_input(self, position: int, rule: Saturation, x: Tensor) -> None:
        """Count the saturated elements of a module that is judged by its input ``x`` (detached)."""
        if x.numel() == 0:
            return
        moments = self._moments
        count = torch.zeros((), dtype=torch.float64 if x.device.type != "mps" else torch.float32, device=x.device)
        for part in x.reshape(-1).split(SLAB):
            wide = part if part.dtype == torch.float64 else part.float()
            count += rule.mark(wide, torch.empty_like(wide)).sum()

        def use(host: np.ndarray) -> None:
            moments.add(position, 0.0, 0.0, 0.0, 0.0, float(host[0]))

        self._transfer.read(count.view(1), use)

    def add_unknown(self, position: int) -> None:
        """The input of a module that is judged by it could not be seen."""
        self._moments.add(position, 0.0, 0.0, 0.0, 0.0, math.nan)

    def flush(self) -> None:
        """Sum up whatever waits."""
        for block in self._blocks.values():
            if block.owners:
                self._sum_up(block)

    def forget(self) -> None:
        """Give the memory back."""
        self._blocks.clear()
        self._lanes.clear()
        self._scratch.clear()

    def _sum_up(self, block: Block) -> None:
        owners, block.owners = block.owners, []
        self._facts(block.rows[: len(owners)], owners, block.saturation, block.here)

    def _facts(self, rows: Tensor, owners: list[int], rule: Saturation | None, here: bool) -> None:
        look = not self.lively.issuperset(owners)
        if here:
            facts(rows, self._spare(rows), owners, rule, look, self._moments, self._shifts)
        else:
            block_facts(rows, owners, rule, look, self._transfer, self._moments)

    def _spare(self, rows: Tensor) -> Tensor:
        spare = self._scratch.get(rows.dtype)
        if spare is None or spare.numel() < rows.numel():
            spare = self._scratch[rows.dtype] = torch.empty(max(SLAB, rows.numel()), dtype=rows.dtype)
        return spare[: rows.numel()].view(rows.shape)
