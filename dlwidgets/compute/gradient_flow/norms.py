"""Norms of gradients, as they come: while they are in a cache, and right for every magnitude."""

import math
from typing import Any

import torch
from torch import Tensor

from .statistics import CALM, SAFE, Floats, Transfer, exact_norm, long_norm, on_host, scale_for, wide

#: Above this many elements squares are summed in pieces, and no scaled copy is made.
LARGE = 1 << 15
#: Up to this many elements what torch does around an operation takes longer than the operation.
SMALL = 1 << 11

#: Where norms go: by key, those of one key are added in squares.
Table = dict[Any, float]


class Norms:
    """Takes the L2 norms of tensors.

    What the norm of a ``key`` was the last time tells how this one is taken: where the squares would be lost in
    float32, or slow because they are subnormal, the tensor is scaled by a power of two. If the guess was bad the norm
    is taken once more, in float64.
    """

    def __init__(self) -> None:
        self._scales: dict[Any, float] = {}

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
        scale = self._scales.get(key)
        if x.numel() > LARGE:
            norm = long_norm(x) if scale is None else 0.0
            scale = None
        else:
            norm = torch.linalg.vector_norm(x if scale is None else x * scale).item()
        if SAFE[0] < norm < SAFE[1]:
            self._put(table, key, norm if scale is None else norm / scale)
        else:
            self._put(table, key, exact_norm(x))

    def together(self, keys: list[Any], tensors: list[Tensor], table: Table, transfer: Transfer) -> None:
        """`take` for several tensors that are there at once."""
        calm: list[tuple[Any, Tensor]] = []
        scaled: list[tuple[Any, Tensor, float]] = []
        for key, x in zip(keys, tensors, strict=True):
            size = x.numel()
            if size > LARGE or x.dtype is not torch.float32 or not on_host(x.device):
                self.take(key, x, table, transfer)
                continue
            scale = self._scales.get(key)
            if scale is None:
                calm.append((key, x))
            elif size <= SMALL:
                scaled.append((key, x, scale))
            else:
                self.take(key, x, table, transfer)
        if calm:
            found = torch.stack(torch._foreach_norm([x for _, x in calm], 2)).tolist()
            for (key, x), norm in zip(calm, found, strict=True):
                self._put(table, key, norm if SAFE[0] < norm < SAFE[1] else exact_norm(x))
        if scaled:
            larger = torch._foreach_mul([x.detach() for _, x, _ in scaled], [scale for _, _, scale in scaled])
            found = torch.stack(torch._foreach_norm(larger, 2)).tolist()
            for (key, x, scale), norm in zip(scaled, found, strict=True):
                self._put(table, key, norm / scale if SAFE[0] < norm < SAFE[1] else exact_norm(x))

    def forget(self) -> None:
        """Forget what the norms were."""
        self._scales.clear()

    def _put(self, table: Table, key: Any, norm: float) -> None:
        known = table.get(key)
        if known is None:
            table[key] = norm
        else:  # of nan and inf hypot would make inf
            table[key] = math.nan if math.isnan(known) or math.isnan(norm) else math.hypot(known, norm)
        if CALM[0] < norm < CALM[1]:
            if key in self._scales:
                del self._scales[key]
        elif 0.0 < norm < math.inf:
            self._scales[key] = scale_for(norm)
