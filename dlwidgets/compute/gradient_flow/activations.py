"""The activations of one forward pass: collected in blocks, summed up a block at a time."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .saturation import Saturation
from .sites import CHANNEL, Site
from .statistics import BLOCK, SLAB, Moments, Transfer, row_facts
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
        and x.device.type != "meta"
        and type(x).__torch_dispatch__ is Tensor.__torch_dispatch__
        and not torch._C._functorch.is_functorch_wrapped_tensor(x)
    )


class Block:
    """Outputs of equal shape, waiting side by side."""

    def __init__(self, like: Tensor, axis: int, saturation: Saturation | None) -> None:
        dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
        outer, units, inner = layout_of(like.shape, axis)
        num_rows = max(1, min(ROWS, BLOCK // like.numel()))
        self.rows = torch.empty((num_rows, outer, units, inner), dtype=dtype, device=like.device)
        self.views = list(self.rows.view(num_rows, *like.shape).unbind(0))
        self.saturation = saturation
        self.owners: list[int] = []


class Activations:
    """Collects what the modules put out; `flush` pools it into the moments of the forward pass under way."""

    def __init__(self) -> None:
        self.lively: set[int] = set()  # positions none of whose units is dead: nobody need look again
        self._blocks: dict[tuple[object, ...], Block] = {}
        self._scratch: dict[tuple[torch.dtype, torch.device], Tensor] = {}
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
        if x.is_complex():
            x = torch.view_as_real(x.resolve_conj())
        size = x.numel()
        if size == 0:
            return
        layout = site.layout
        if layout is None:
            layout = self._layout
        else:
            self._layout = layout
        num_axes = x.dim()
        if num_axes == 0:
            x, axis = x.view(1), 0
        elif num_axes <= 2:
            axis = num_axes - 1
        else:
            axis = 1 if layout == CHANNEL else max(num_axes - 1 - layout, 0)
        rule = site.saturation
        if rule is not None and rule.of_input:
            rule = None
        if size > LARGE:
            self._slabs(position, x, axis, rule)
            return
        key = (x.shape, x.dtype, x.device, axis, None if rule is None else rule.key)
        block = self._blocks.get(key)
        if block is None:
            block = self._blocks[key] = Block(x, axis, rule)
        if len(block.owners) == len(block.views) or position in block.owners:
            self._sum_up(block)
        block.views[len(block.owners)].copy_(x)
        block.owners.append(position)

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

    def flush(self) -> None:
        """Sum up whatever waits."""
        for block in self._blocks.values():
            if block.owners:
                self._sum_up(block)

    def forget(self) -> None:
        """Give the memory back."""
        self._blocks.clear()
        self._scratch.clear()

    def _sum_up(self, block: Block) -> None:
        owners, block.owners = block.owners, []
        units = not self.lively.issuperset(owners)
        self._facts(block.rows[: len(owners)], owners, block.saturation, units)

    def _slabs(self, position: int, x: Tensor, axis: int, rule: Saturation | None) -> None:
        if axis == 1 and x.dim() == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
            x, axis = x.permute(0, 2, 3, 1), 3
        outer, units, inner = layout_of(x.shape, axis)
        whole = x.contiguous().view(outer, units, inner)
        at_a_time = max(1, SLAB // (units * inner))
        look = position not in self.lively
        for slab in whole.split(at_a_time):
            wide = slab if slab.dtype in (torch.float32, torch.float64) else slab.float()
            self._facts(wide.unsqueeze(0), [position], rule, look)

    def _facts(self, rows: Tensor, owners: list[int], rule: Saturation | None, units: bool) -> None:
        row_facts(rows, self._spare(rows), owners, rule, units, self._transfer, self._moments)

    def _spare(self, rows: Tensor) -> Tensor:
        key = (rows.dtype, rows.device)
        spare = self._scratch.get(key)
        if spare is None or spare.numel() < rows.numel():
            spare = self._scratch[key] = torch.empty(max(SLAB, rows.numel()), dtype=rows.dtype, device=rows.device)
        return spare[: rows.numel()].view(rows.shape)
