"""Numbers about tensors: moments, zeros and norms, exact enough whatever the scale, with few passes and few kernels.

Small outputs of equal shape are copied into the rows of one block, and each pass runs over the whole block; large ones
are read in slabs that fit a cache. Each row or slab gives (count, mean, sum of squared deviations, zeros, saturated),
and these are pooled in float64 by Chan's formula (Chan, Golub and LeVeque, 1983).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from .saturation import Saturation

#: Elements that are looked at together: with as many of scratch space they stay in a cache.
BLOCK = 1 << 16
#: Elements whose squares are summed in float32 in one go: beyond, the rounding errors show.
ROW = 1 << 13
SLAB = 1 << 17
#: Below and above these a norm computed in float32 may have lost squares; it is computed again in float64, scaled.
SAFE = (1e-12, 1e18)

Floats = np.ndarray  # float64


def exact_norm(x: Tensor) -> float:
    """The L2 norm of all elements of ``x`` in float64, scaled by the largest so that no square is lost."""
    if x.numel() == 0:
        return 0.0
    x = x.detach()
    if x.is_complex():
        x = torch.view_as_real(x)
    low, high = x.aminmax()
    largest = float(torch.maximum(-low, high))
    if largest == 0.0 or not np.isfinite(largest):
        return largest
    return float(torch.linalg.vector_norm(x.to(torch.float64) / largest)) * largest


def short_rows(rows: Tensor) -> Tensor:
    """A contiguous matrix with each row cut into equal pieces, short enough that float32 sums keep seven digits."""
    size = rows.shape[1]
    pieces = 1
    while size > ROW and size % 2 == 0:
        size //= 2
        pieces *= 2
    return rows.view(-1, size) if pieces > 1 else rows


def long_norm(x: Tensor) -> float:
    """The L2 norm of a large tensor: squares are summed in its own precision over short rows only."""
    whole = x.numel() // ROW * ROW
    if not whole or x.is_complex():
        return float(torch.linalg.vector_norm(x))
    flat = x.reshape(-1)
    rows = torch.linalg.vector_norm(flat[:whole].view(-1, ROW), dim=1).to(torch.float64)
    return math.hypot(float(torch.linalg.vector_norm(rows)), float(torch.linalg.vector_norm(flat[whole:])))


def dense(x: Tensor) -> Tensor:
    """The values of ``x`` that can differ from zero: of a sparse tensor the coalesced ones; ``x`` itself stays as it
    is.
    """
    if x.layout == torch.strided:
        return x
    if x.layout == torch.sparse_coo:
        return x.coalesce().values()
    return x.to_dense()


class Transfer:
    """Carries results to the host: what lies there at once, what lies on other devices in one copy each, at the end."""

    def __init__(self) -> None:
        self._waiting: dict[torch.device, list[tuple[Tensor, Callable[[Floats], None]]]] = {}

    def read(self, numbers: Tensor, use: Callable[[Floats], None]) -> None:
        """Call ``use`` with a vector of ``numbers`` as float64, now or in `finish`."""
        if numbers.device.type == "cpu":
            use(numbers.to(torch.float64).numpy())
        else:
            self._waiting.setdefault(numbers.device, []).append((numbers, use))

    def finish(self) -> None:
        """Bring everything that waits and use it, in the order in which it was read."""
        waiting, self._waiting = self._waiting, {}
        for pieces in waiting.values():
            host = torch.cat([numbers for numbers, _ in pieces]).to("cpu").to(torch.float64)
            for part, (_, use) in zip(host.split([len(n) for n, _ in pieces]), pieces, strict=True):
                use(part.numpy())


def on_host(device: torch.device) -> bool:
    """Whether numbers on ``device`` can be looked at without waiting for another device."""
    return device.type == "cpu"


def wide(x: Tensor) -> Tensor:
    """``x`` in float64, where a second look at lost squares would be too dear; MPS has no float64, so it moves."""
    return x.to("cpu" if x.device.type == "mps" else x.device, torch.float64)


def row_norms(rows: Tensor, transfer: Transfer, use: Callable[[Floats], None]) -> None:
    """Hand the L2 norm of each row of a matrix to ``use`` in float64, right for every magnitude."""
    if not on_host(rows.device):
        transfer.read(torch.linalg.vector_norm(wide(rows), dim=1), use)
        return
    found = torch.linalg.vector_norm(rows, dim=1).to(torch.float64).numpy()
    unsafe = np.flatnonzero(~((found > SAFE[0]) & (found < SAFE[1])))
    if len(unsafe):
        chosen = rows if len(unsafe) == len(rows) else rows[torch.from_numpy(unsafe)]
        zero = ((chosen.amax(1) == 0) & (chosen.amin(1) == 0)).tolist() if rows.shape[1] else [True] * len(unsafe)
        for i, nothing in zip(unsafe, zero, strict=True):
            found[i] = 0.0 if nothing else exact_norm(rows[i])
    use(found)


@dataclass
class Moments:
    """What is known of the activations at each position: five float64 vectors over positions."""

    count: Floats = field(default_factory=lambda: np.zeros(0))
    mean: Floats = field(default_factory=lambda: np.zeros(0))
    squares: Floats = field(default_factory=lambda: np.zeros(0))  # sum of squared deviations from the mean
    zeros: Floats = field(default_factory=lambda: np.zeros(0))
    saturated: Floats = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        self.alive: dict[int, np.ndarray] = {}

    def grow(self, num_positions: int) -> None:
        """Make room for ``num_positions``."""
        extra = num_positions - len(self.count)
        if extra > 0:
            for name in ("count", "mean", "squares", "zeros", "saturated"):
                setattr(self, name, np.concatenate([getattr(self, name), np.zeros(extra)]))

    def add(self, at: Floats, count: Floats, mean: Floats, squares: Floats, zeros: Floats, saturated: Floats) -> None:
        """Pool more elements at the positions ``at``, no position twice."""
        before = self.count[at]
        total = before + count
        safe = np.where(total == 0, 1.0, total)
        with np.errstate(invalid="ignore", over="ignore"):
            delta = mean - self.mean[at]
            self.mean[at] = np.where(before == 0, mean, self.mean[at] + delta * (count / safe))
            self.squares[at] += squares + np.where(before == 0, 0.0, delta * delta * (before * count / safe))
        self.count[at] = total
        self.zeros[at] += zeros
        self.saturated[at] += saturated

    def saw(self, position: int, alive: np.ndarray) -> None:
        """The units of ``position`` that were not zero for at least one sample."""
        known = self.alive.get(position)
        self.alive[position] = alive if known is None or known.shape != alive.shape else known | alive

    def merge(self, other: "Moments") -> None:
        """Pool what another one has seen."""
        self.grow(len(other.count))
        at = np.flatnonzero(other.count)
        self.add(at, *(getattr(other, name)[at] for name in ("count", "mean", "squares", "zeros", "saturated")))
        for position, alive in other.alive.items():
            self.saw(position, alive)


@dataclass
class RowFacts:
    """Of each row of a block: mean, sum of squared deviations, zeros, saturated elements, zeros per unit (or None)."""

    mean: Floats
    squares: Floats
    zeros: Floats
    saturated: Floats
    unit_zeros: Floats | None


def row_facts(
    block: Tensor,
    scratch: Tensor,
    saturation: Saturation | None,
    units: bool,
    transfer: Transfer,
    use: Callable[[RowFacts], None],
) -> None:
    """Hand facts about ``block`` (row, outer, unit, inner) to ``use``.

    ``block`` and ``scratch``, which is overwritten, are contiguous float32 or float64 tensors of one shape.
    """
    if not on_host(block.device):
        block = wide(block)
        scratch = torch.empty_like(block)
    num_rows, outer, num_units, inner = block.shape
    flat = block.view(num_rows, -1)
    spare = scratch.view(num_rows, -1)
    size = flat.shape[1]
    mean = flat.sum(1, keepdim=True).div_(size)
    torch.sub(flat, mean, out=spare)
    facts = [mean.view(-1), spare.sum(1), _norm(spare)]
    torch.eq(flat, 0, out=spare)
    if units:
        zeros = scratch if inner == 1 else scratch.sum(3)
        unit_zeros = zeros.view(num_rows, outer, num_units).sum(1)
        facts.append(unit_zeros.sum(1))
    else:
        facts.append(spare.sum(1))
    if saturation is not None and not saturation.is_zero:
        calm = saturation.calm is not None and on_host(block.device) and saturation.calm(flat)
        facts.append(spare.new_zeros(num_rows) if calm else saturation.mark(flat, spare).sum(1))
    num_facts = len(facts)
    if units:
        facts.append(unit_zeros.view(-1))

    def unpack(host: Floats) -> None:
        first = host[: num_rows * num_facts].reshape(num_facts, num_rows)
        shift = first[1] / size
        with np.errstate(invalid="ignore", over="ignore"):
            found_mean = first[0] + shift
            squares = np.maximum(first[2] ** 2 - shift * shift * size, 0.0)
        unsafe = ~((first[2] > SAFE[0]) & (first[2] < SAFE[1]))
        if unsafe.any() and on_host(block.device):
            _again(flat, np.flatnonzero(unsafe), found_mean, squares)
        saturated = np.zeros(num_rows) if saturation is None else first[3] if saturation.is_zero else first[4]
        per_unit = host[num_rows * num_facts :].reshape(num_rows, num_units) if units else None
        use(RowFacts(found_mean, squares, first[3], saturated, per_unit))

    transfer.read(torch.cat(facts), unpack)


def _norm(rows: Tensor) -> Tensor:
    short = short_rows(rows)
    if short is rows:
        return torch.linalg.vector_norm(rows, dim=1)
    return torch.linalg.vector_norm(torch.linalg.vector_norm(short, dim=1).view(len(rows), -1), dim=1)


def _again(flat: Tensor, rows: Floats, mean: Floats, squares: Floats) -> None:
    """Compute mean and squared deviations of some rows again, in float64."""
    for row in rows:
        exact = flat[row].to(torch.float64)
        center = exact.mean()
        mean[row] = float(center)
        squares[row] = exact_norm(exact - center) ** 2


def unit_layout(shape: torch.Size, axis: int) -> tuple[int, int, int]:
    """(outer, unit, inner) sizes of a tensor whose units lie along ``axis``."""
    outer = inner = 1
    for size in shape[:axis]:
        outer *= size
    for size in shape[axis + 1 :]:
        inner *= size
    return outer, shape[axis], inner
