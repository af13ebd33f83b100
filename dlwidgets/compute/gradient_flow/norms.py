"""Norms of gradients, as they come: right for every magnitude, with little memory and few kernels."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .statistics import SAFE, Floats, Transfer, exact_norm, long_norm, on_host, row_norms, wide

#: Outside these the squares of many elements would be subnormal, which is slow, or overflow.
CALM = (1e-8, 1e8)
#: Elements of a block, and above which a tensor does not wait in one.
BLOCK = 1 << 17
LARGE = 1 << 15
ROWS = 16

Sink = Callable[[Any, float], None]


class Block:
    """Tensors of one shape, copied side by side, each times a power of two."""

    def __init__(self, like: Tensor) -> None:
        dtype = torch.float32 if like.dtype in (torch.float16, torch.bfloat16) else like.dtype
        num_rows = max(1, min(ROWS, BLOCK // max(like.numel(), 1)))
        self.rows = torch.empty((num_rows, like.numel()), dtype=dtype, device=like.device)
        self.views = list(self.rows.view(num_rows, *like.shape).unbind(0))
        self.waiting: list[tuple[Any, Sink, float]] = []


class Norms:
    """Takes the L2 norms of tensors, a block at a time.

    What the norm of a ``key`` was the last time tells how the tensor is scaled this time: where squares would be lost,
    or slow because they are subnormal, it is multiplied by a power of two first. If the guess was bad it is done again
    exactly.
    """

    def __init__(self) -> None:
        self._expected: dict[Any, float] = {}
        self._blocks: dict[tuple[object, ...], Block] = {}
        self._spare: dict[tuple[torch.dtype, torch.device], Tensor] = {}

    def take(self, key: Any, x: Tensor, sink: Sink, transfer: Transfer) -> None:
        """``sink(key, norm of x)``, now or in `flush`; ``x`` may be overwritten in the meantime."""
        if x.requires_grad:
            x = x.detach()
        if x.numel() > LARGE or not on_host(x.device):
            self.of([key], [x], transfer, lambda found: sink(key, float(found[0])))
            return
        kind = (x.shape, x.dtype)
        block = self._blocks.get(kind)
        if block is None:
            block = self._blocks[kind] = Block(x)
        factor = self._factor(key)
        torch.mul(x, factor, out=block.views[len(block.waiting)])
        block.waiting.append((key, sink, factor))
        if len(block.waiting) == len(block.views):
            self._sum_up(block)

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
        self._spare.clear()

    def of(self, keys: list[Any], tensors: list[Tensor], transfer: Transfer, use: Callable[[Floats], None]) -> None:
        """Hand the norms of some tensors to ``use``."""
        kinds: dict[tuple[torch.dtype, torch.device], list[int]] = {}
        for i, x in enumerate(tensors):
            kinds.setdefault((x.dtype, x.device), []).append(i)
        found = np.zeros(len(tensors))
        left = len(kinds)
        for (_, device), members in kinds.items():

            def place(values: Floats, members: list[int] = members) -> None:
                nonlocal left
                found[members] = values
                left -= 1
                if left == 0:
                    self._expected.update(zip(keys, found.tolist(), strict=True))
                    use(found)

            some = [tensors[i] for i in members]
            if on_host(device):
                place(self._on_host([keys[i] for i in members], some))
            else:
                transfer.read(torch.stack([torch.linalg.vector_norm(wide(x)) for x in some]), place)

    def _factor(self, key: Any) -> float:
        guess = self._expected.get(key, 0.0)
        if not guess or CALM[0] < guess < CALM[1] or not math.isfinite(guess):
            return 1.0
        return 2.0 ** -min(max(math.frexp(guess)[1], -120), 120)

    def _sum_up(self, block: Block) -> None:
        waiting, block.waiting = block.waiting, []

        def use(found: Floats) -> None:
            for (key, sink, factor), norm in zip(waiting, found.tolist(), strict=True):
                norm /= factor
                self._expected[key] = norm
                sink(key, norm)

        row_norms(block.rows[: len(waiting)], Transfer(), use)

    def _on_host(self, keys: list[Any], tensors: list[Tensor]) -> Floats:
        factors = [self._factor(key) for key in keys]
        found = np.zeros(len(tensors))
        plain = [i for i, x in enumerate(tensors) if factors[i] == 1.0 and x.numel() <= LARGE]
        if plain:
            chosen = [tensors[i] for i in plain]
            if chosen[0].dtype in (torch.float16, torch.bfloat16):
                chosen = [x.float() for x in chosen]
            found[plain] = torch.stack(torch._foreach_norm(chosen, 2)).to(torch.float64).numpy()
        for i, factor in enumerate(factors):
            if factor != 1.0 or tensors[i].numel() > LARGE:
                scaled = tensors[i].float() if tensors[i].dtype in (torch.float16, torch.bfloat16) else tensors[i]
                if factor != 1.0:
                    scaled = torch.mul(tensors[i], factor, out=self._room(tensors[i]))
                found[i] = long_norm(scaled)
        for i in np.flatnonzero(~((found > SAFE[0]) & (found < SAFE[1]))).tolist():
            found[i] = exact_norm(tensors[i])
            factors[i] = 1.0
        return found / np.array(factors)

    def _room(self, like: Tensor) -> Tensor:
        dtype = torch.float32 if like.dtype in (torch.float16, torch.bfloat16) else like.dtype
        spare = self._spare.get((dtype, like.device))
        if spare is None or spare.numel() < like.numel():
            spare = self._spare[dtype, like.device] = torch.empty(like.numel(), dtype=dtype, device=like.device)
        return spare[: like.numel()].view(like.shape)
