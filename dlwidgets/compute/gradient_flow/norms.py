"""Norms of gradients, as they come: while they are in a cache, and right for every magnitude."""

import math
from typing import Any

import torch
from torch import Tensor

from .statistics import SAFE, Floats, Transfer, long_norm, on_host, safe_norm, wide

#: Above this many elements squares are summed in pieces.
LARGE = 1 << 15

#: Where norms go: by key, those of one key are added in squares.
Table = dict[Any, float]


class Norms:
    """Takes the L2 norms of tensors.

    What the norm of a ``key`` was the last time tells how this one is taken: in float64 where the squares would be lost
    in float32, or slow because they are subnormal. If the guess was bad the norm is taken once more.
    """

    def __init__(self) -> None:
        self._extreme: set[Any] = set()

    def take(self, key: Any, x: Tensor, table: Table, transfer: Transfer) -> None:
        """Put the norm of ``x`` into the table, now or when ``transfer`` is finished."""
        if x.requires_grad:
            x = x.detach()
        if not on_host(x.device):

            def use(found: Floats) -> None:
                self._put(table, key, float(found[0]))

            x = torch.view_as_real(x.resolve_conj()) if x.is_complex() else x
            transfer.read(torch.linalg.vector_norm(wide(x)).view(1), use)
            return
        if x.dtype is not torch.float32 and x.dtype is not torch.float64:
            x = torch.view_as_real(x.resolve_conj()) if x.is_complex() else x.float()
        if key in self._extreme:
            norm = safe_norm(x)
        else:
            norm = long_norm(x) if x.numel() > LARGE else torch.linalg.vector_norm(x).item()
            if not SAFE[0] < norm < SAFE[1]:
                norm = safe_norm(x)
        self._put(table, key, norm)

    def together(self, keys: list[Any], tensors: list[Tensor], table: Table, transfer: Transfer) -> None:
        """`take` for several tensors that are there at once."""
        groups: dict[torch.dtype, list[tuple[Any, Tensor]]] = {torch.float32: [], torch.float64: []}
        for key, x in zip(keys, tensors, strict=True):
            if x.dtype is not torch.float32 or not x.is_cpu or x.numel() > LARGE:
                self.take(key, x, table, transfer)
            else:
                groups[torch.float64 if key in self._extreme else torch.float32].append((key, x))
        for dtype, group in groups.items():
            if group:
                found = torch.stack(torch._foreach_norm([x for _, x in group], 2, dtype)).tolist()
                for (key, x), norm in zip(group, found, strict=True):
                    sure = dtype is torch.float64 or SAFE[0] < norm < SAFE[1]
                    self._put(table, key, norm if sure else safe_norm(x))

    def forget(self) -> None:
        """Forget what the norms were."""
        self._extreme.clear()

    def _put(self, table: Table, key: Any, norm: float) -> None:
        known = table.get(key)
        if known is None:
            table[key] = norm
        else:  # of nan and inf hypot would make inf
            table[key] = math.nan if math.isnan(known) or math.isnan(norm) else math.hypot(known, norm)
        if SAFE[0] < norm < SAFE[1]:
            self._extreme.discard(key)
        elif 0.0 < norm < math.inf:
            self._extreme.add(key)
