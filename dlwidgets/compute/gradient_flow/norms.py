"""Norms of gradients, as they come: right for every magnitude, with little memory and few kernels."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .statistics import SAFE, Floats, Transfer, exact_norm, long_norm, on_host, row_norms, wide

#: Norms outside these are taken in float64: in float32 many squares would be subnormal, which is slow, or overflow.
CALM = (1e-8, 1e8)
#: Elements of a block, and above which a tensor does not wait in one.
BLOCK = 1 << 16
LARGE = 1 << 15
ROWS = 16

Sink = Callable[[Any, float], None]


class Block:
    """Copies of tensors of one shape, side by side."""

    def __init__(self, like: Tensor, dtype: torch.dtype) -> None:
        num_rows = max(1, min(ROWS, BLOCK // max(like.numel(), 1)))
        self.rows = torch.empty((num_rows, like.numel()), dtype=dtype, device=like.device)
        self.views = list(self.rows.view(num_rows, *like.shape).unbind(0))
        self.waiting: list[tuple[Any, Sink]] = []


class Norms:
    """Takes the L2 norms of tensors, a block at a time.

    What the norm of a ``key`` was the last time tells how this one is taken: where the squares would be lost in
    float32, or slow because they are subnormal, it is in float64 from the beginning. If the guess was bad it is done
    once more.
    """

    def __init__(self) -> None:
        self._expected: dict[Any, float] = {}
        self._blocks: dict[tuple[object, ...], Block] = {}

    def take(self, key: Any, x: Tensor, sink: Sink, transfer: Transfer) -> None:
        """``sink(key, norm of x)``, now or in `flush`; ``x`` may be overwritten in the meantime."""
        if x.requires_grad:
            x = x.detach()
        if x.is_complex():
            x = torch.view_as_real(x.resolve_conj())
        if x.numel() > LARGE or not on_host(x.device):
            self._alone(key, x, sink, transfer)
            return
        calm = self._calm(key, x)
        kind = (x.shape, calm)
        block = self._blocks.get(kind)
        if block is None:
            block = self._blocks[kind] = Block(x, torch.float32 if calm else torch.float64)
        block.views[len(block.waiting)].copy_(x)
        block.waiting.append((key, sink))
        if len(block.waiting) == len(block.views):
            self._sum_up(block)

    def together(self, keys: list[Any], tensors: list[Tensor], sink: Sink, transfer: Transfer) -> None:
        """`take` for several tensors that are there at once; of most no copy is needed."""
        calm = []
        for key, x in zip(keys, tensors, strict=True):
            if x.dtype == torch.float32 and x.numel() <= LARGE and on_host(x.device) and self._calm(key, x):
                calm.append((key, x))
            else:
                self.take(key, x, sink, transfer)
        if calm:
            found = torch.stack(torch._foreach_norm([x for _, x in calm], 2)).tolist()
            for (key, x), norm in zip(calm, found, strict=True):
                norm = norm if SAFE[0] < norm < SAFE[1] else exact_norm(x)
                self._expected[key] = norm
                sink(key, norm)

    def _calm(self, key: Any, x: Tensor) -> bool:
        return CALM[0] < self._expected.get(key, 1.0) < CALM[1] and x.dtype != torch.float64

    def flush(self) -> None:
        """Finish what waits."""
        for block in self._blocks.values():
            if block.waiting:
                self._sum_up(block)

    def drop(self) -> None:
        """Forget what waits."""
        for block in self._blocks.values():
            block.waiting.clear()

    def forget(self) -> None:
        """Give the memory back."""
        self._blocks.clear()

    def _sum_up(self, block: Block) -> None:
        waiting, block.waiting = block.waiting, []

        def use(found: list[float]) -> None:
            for (key, sink), norm in zip(waiting, found, strict=True):
                self._expected[key] = norm
                sink(key, norm)

        row_norms(block.rows[: len(waiting)], Transfer(), use)

    def _alone(self, key: Any, x: Tensor, sink: Sink, transfer: Transfer) -> None:
        def use(found: Floats) -> None:
            norm = float(found[0])
            self._expected[key] = norm
            sink(key, norm)

        if not on_host(x.device):
            transfer.read(torch.linalg.vector_norm(wide(x)).view(1), use)
            return
        norm = 0.0
        if CALM[0] < self._expected.get(key, 1.0) < CALM[1]:
            norm = long_norm(x.float() if x.dtype in (torch.float16, torch.bfloat16) else x)
        use(np.array([norm if SAFE[0] < norm < SAFE[1] else exact_norm(x)]))
