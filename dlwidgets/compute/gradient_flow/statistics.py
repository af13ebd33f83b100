"""Numbers about tensors: moments, zeros and norms, exact enough whatever the scale, with few passes and few kernels.

Small outputs of equal shape are copied into the rows of one block, and each pass runs over the whole block; large ones
are read in slabs that fit a cache. Each row or slab gives (count, mean, sum of squared deviations, zeros, saturated),
and these are pooled in float64 by Chan's formula (Chan, Golub and LeVeque, 1983).
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from .saturation import Saturation

#: Elements that are looked at together: with as many of scratch space they stay in a cache.
BLOCK = 1 << 17
#: Elements whose squares are summed in float32 in one go: beyond, the rounding errors show.
ROW = 1 << 13
#: Elements of a large output that are looked at together: fewer would cost more in calls than they save in a cache.
SLAB = 1 << 19
#: Below and above these a norm computed in float32 may have lost squares; it is computed again in float64, scaled.
SAFE = (1e-12, 1e18)
SAFE64 = (1e-140, 1e140)
#: Where the squared mean is above this multiple of the variance, the variance is taken around the mean.
CLOSE = 8.0

Floats = np.ndarray  # float64


def exact_norm(x: Tensor) -> float:
    """The L2 norm of all elements of ``x`` in float64, scaled by the largest so that no square is lost."""
    if x.numel() == 0:
        return 0.0
    x = x.detach()
    if x.is_complex():
        x = torch.view_as_real(x.resolve_conj())
    low, high = x.aminmax()
    largest = float(torch.maximum(-low, high))
    if largest == 0.0 or not np.isfinite(largest):
        return largest
    return float(torch.linalg.vector_norm(x.to(torch.float64) / largest)) * largest


def safe_norm(x: Tensor) -> float:
    """The L2 norm of a float32 or float64 tensor, right for every magnitude: no square is lost."""
    if x.dtype == torch.float64:
        return exact_norm(x)
    return float(torch.linalg.vector_norm(x.detach(), dtype=torch.float64))


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


def on_host(device: torch.device) -> bool:
    """Whether numbers on ``device`` can be looked at without waiting for another device."""
    return device.type == "cpu"


class Transfer:
    """Carries results to the host: what lies there at once, what lies on other devices in one copy each, at the end."""

    def __init__(self) -> None:
        self._waiting: dict[torch.device, list[tuple[Tensor, Callable[[Floats], None]]]] = {}

    def read(self, numbers: Tensor, use: Callable[[Floats], None]) -> None:
        """Call ``use`` with a vector of ``numbers`` as float64, now or in `finish`."""
        if on_host(numbers.device):
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


def wide(x: Tensor) -> Tensor:
    """``x`` in float64, where a second look at lost squares would be too dear; MPS has no float64, so it moves."""
    return x.to("cpu" if x.device.type == "mps" else x.device, torch.float64)


def row_norms(
    rows: Tensor,
    transfer: Transfer,
    use: Callable[[list[float]], None],
    scales: list[float] | None = None,
    scratch: Tensor | None = None,
) -> None:
    """Hand the L2 norm of each row of a matrix to ``use``, right for every magnitude.

    A row times its scale, a power of two, is expected to have squares that float32 can hold: otherwise their sum is
    slow, or lost and taken once more in float64. ``scratch``: space for the scaled rows.
    """
    if not on_host(rows.device):
        transfer.read(torch.linalg.vector_norm(wide(rows), dim=1), lambda host: use(host.tolist()))
        return
    low, high = SAFE64 if rows.dtype == torch.float64 else SAFE
    near = rows
    if scales is not None and any(scale != 1.0 for scale in scales):
        near = torch.mul(rows, torch.tensor(scales, dtype=rows.dtype).unsqueeze(1), out=scratch)
    seen = found = torch.linalg.vector_norm(near, dim=1).tolist()
    if near is not rows and scales is not None:
        found = [norm / scale for norm, scale in zip(seen, scales, strict=True)]
    if not (min(seen) > low and max(seen) < high):
        values = rows.numpy()
        for i, norm in enumerate(seen):
            if not low < norm < high:
                found[i] = exact_norm(rows[i]) if norm != 0.0 or values[i].any() else 0.0
    use(found)


def scale_for(norm: float) -> float:
    """The power of two by which a tensor with about this norm is to be multiplied before its norm is taken."""
    if SAFE[0] < norm < SAFE[1] or not 0.0 < norm < math.inf:
        return 1.0
    return 2.0 ** -min(max(round(math.log2(norm)), -126), 126)


class Moments:
    """What is known of the activations at each position, pooled over all elements seen.

    By position: the number of elements, their mean, the sum of their squared deviations from it, how many are zero,
    how many saturated; and which units were not always zero.
    """

    def __init__(self) -> None:
        self.rows: dict[int, list[float]] = {}
        self.alive: dict[int, np.ndarray] = {}

    def expect(self, position: int) -> None:
        """Numbers of ``position`` will come: rows are in the order of the calls, in whatever order these are summed."""
        if position not in self.rows:
            self.rows[position] = [0.0, 0.0, 0.0, 0.0, 0.0]

    def add(self, position: int, count: float, mean: float, squares: float, zeros: float, saturated: float) -> None:
        """Pool more elements of ``position``."""
        known = self.rows.get(position)
        if known is None or known[0] == 0.0:
            self.rows[position] = [count, mean, squares, zeros, saturated + (known[4] if known else 0.0)]
        elif count:
            before, total = known[0], known[0] + count
            delta = mean - known[1]
            known[0] = total
            known[1] += delta * (count / total)
            known[2] += squares + delta * delta * (before * count / total)
            known[3] += zeros
            known[4] += saturated
        else:
            known[4] += saturated

    def saw(self, position: int, alive: np.ndarray) -> None:
        """The units of ``position`` that were not zero for at least one sample."""
        known = self.alive.get(position)
        self.alive[position] = alive if known is None or known.shape != alive.shape else known | alive

    def merge(self, other: "Moments") -> None:
        """Pool what another one has seen."""
        for position, row in other.rows.items():
            self.add(position, *row)
        for position, alive in other.alive.items():
            self.saw(position, alive)

    def table(self, num_positions: int) -> Floats:
        """The five numbers, a row each, by position; zero where nothing was seen."""
        table = np.zeros((5, num_positions))
        if self.rows:
            table[:, list(self.rows)] = np.array(list(self.rows.values())).T
        return table


def facts(
    block: Tensor,
    scratch: Tensor,
    owners: list[int],
    saturation: Saturation | None,
    units: bool,
    moments: Moments,
    shifts: dict[int, float],
) -> None:
    """Add what there is to know about ``block`` (row, outer, unit, inner) to ``moments``, a row for each of ``owners``.

    ``block`` and ``scratch``, which is overwritten, are contiguous float32 or float64 tensors of one shape, on the
    host. ``units``: also which units are zero throughout. ``shifts`` remembers the means of those owners whose spread
    is small beside the mean. Few passes, and a closer look only where the numbers ask for one.
    """
    num_rows, outer, num_units, inner = block.shape
    flat, spare = block.view(num_rows, -1), scratch.view(num_rows, -1)
    size = flat.shape[1]
    found, doubtful = _mean_and_squares(flat, spare, owners, shifts)
    values = flat.numpy()
    calm = saturation is not None and saturation.calm is not None and saturation.calm(values)
    saturated = [0.0] * num_rows
    if saturation is not None and not calm and not saturation.is_zero:
        saturated = saturation.mark(flat, spare).sum(1).tolist()
    zeros = [0] * num_rows
    if not (calm and saturation is not None and saturation.calm_is_nonzero):
        # in the scratch space: fresh memory would take longer than the comparison
        mask = spare.numpy().view(bool).reshape(-1)[: values.size].reshape(values.shape)
        nonzero = np.not_equal(values, 0, out=mask)
        zeros = [size - int(np.count_nonzero(row)) for row in nonzero]
        if saturation is not None and saturation.is_zero:
            saturated = [float(number) for number in zeros]
    for row, position in enumerate(owners):
        if units:
            alive = np.ones(num_units, dtype=bool)
            if zeros[row] >= outer * inner:
                alive = nonzero[row].reshape(outer, num_units, inner).any(axis=(0, 2))
            moments.saw(position, alive)
        if zeros[row] == size:
            found[row] = 0.0, 0.0
    doubtful = [row for row in doubtful if zeros[row] < size]
    if doubtful:
        _around_the_mean(flat, spare, doubtful, found)
    for position, (mean, squares), zero, calls in zip(owners, found, zeros, saturated, strict=True):
        if mean * mean * size < CLOSE * squares or not math.isfinite(mean):
            shifts.pop(position, None)
        else:
            shifts[position] = mean
        moments.add(position, float(size), mean, squares, float(zero), calls)


def _mean_and_squares(
    flat: Tensor, spare: Tensor, owners: list[int], shifts: dict[int, float]
) -> tuple[list[tuple[float, float]], list[int]]:
    """Mean and sum of squared deviations of each row, and the rows that deserve another look: squares may have been
    lost, or the spread is small beside the distance from the expected mean.
    """
    size, near, centers = flat.shape[1], flat, [0.0] * len(owners)
    if shifts:
        centers = [shifts.get(position, 0.0) for position in owners]
        if any(centers):
            column = torch.tensor(centers, dtype=flat.dtype).unsqueeze(1)
            near, centers = torch.sub(flat, column, out=spare), column.view(-1).tolist()
    found, doubtful = [], []
    for row, (total, norm, center) in enumerate(zip(near.sum(1).tolist(), _norm(near).tolist(), centers, strict=True)):
        beside = total / size
        squares = norm * norm - beside * total
        found.append((center + beside, squares))
        if not (SAFE[0] < norm < SAFE[1] and beside * total < CLOSE * squares):
            if norm == 0.0 and center and not near[row].any():
                found[row] = center, 0.0
            else:
                doubtful.append(row)
    return found, doubtful


def _around_the_mean(flat: Tensor, spare: Tensor, rows: list[int], found: list[tuple[float, float]]) -> None:
    """Mean and squares of some ``rows`` once more: around the mean, and in float64 where that does not do either."""
    chosen = slice(rows[0], rows[-1] + 1)
    near, size = spare[chosen], flat.shape[1]
    taken = torch.tensor([[mean] for mean, _ in found[chosen]], dtype=flat.dtype)
    torch.sub(flat[chosen], taken, out=near)
    sums, norms = near.sum(1).tolist(), _norm(near).tolist()
    for row in rows:
        shift, norm = sums[row - rows[0]] / size, norms[row - rows[0]]
        squares = norm * norm - shift * shift * size
        if SAFE[0] < norm < SAFE[1] and shift * shift * size < CLOSE * squares:
            found[row] = float(taken[row - rows[0]]) + shift, squares
        else:
            exact = flat[row].to(torch.float64)
            center = exact.mean()
            norm = exact_norm(exact - center)
            found[row] = float(center), norm * norm  # inf beyond float64, where ** would raise


def _norm(rows: Tensor) -> Tensor:
    """The L2 norm of each row; squares are summed in pieces short enough that float32 keeps seven digits."""
    size = rows.shape[1]
    if size <= ROW:
        return torch.linalg.vector_norm(rows, dim=1)
    whole = size // ROW * ROW
    pieces = torch.linalg.vector_norm(rows[:, :whole].unflatten(1, (-1, ROW)), dim=2)
    if whole < size:
        pieces = torch.cat([pieces, torch.linalg.vector_norm(rows[:, whole:], dim=1, keepdim=True)], dim=1)
    return torch.linalg.vector_norm(pieces, dim=1)


def block_facts(
    block: Tensor,
    owners: list[int],
    saturation: Saturation | None,
    units: bool,
    transfer: Transfer,
    moments: Moments,
) -> None:
    """`facts` for a block on another device.

    Everything in float64 and without looking, so that one copy at the end of the step brings it all.
    """
    block = wide(block)
    num_rows, outer, num_units, inner = block.shape
    flat = block.view(num_rows, -1)
    size = flat.shape[1]
    mean = flat.mean(1, keepdim=True)
    zero = (block == 0).sum((1, 3)).to(torch.float64)
    facts = [mean.view(-1), torch.linalg.vector_norm(flat - mean, dim=1), zero.sum(1)]
    if saturation is not None and not saturation.is_zero:
        facts.append(saturation.mark(flat, torch.empty_like(flat)).sum(1))
    num_facts = len(facts)
    if units:
        facts.append(zero.view(-1))

    def unpack(host: Floats) -> None:
        table = host[: num_rows * num_facts].reshape(num_facts, num_rows).T.tolist()
        for position, numbers in zip(owners, table, strict=True):
            saturated = 0.0 if saturation is None else numbers[-1]
            moments.add(position, float(size), numbers[0], numbers[1] * numbers[1], numbers[2], saturated)
        if units:
            alive = host[num_rows * num_facts :].reshape(num_rows, num_units) < outer * inner
            for position, row_alive in zip(owners, alive, strict=True):
                moments.saw(position, row_alive)

    transfer.read(torch.cat(facts), unpack)


def unit_layout(shape: torch.Size, axis: int) -> tuple[int, int, int]:
    """(outer, unit, inner) sizes of a tensor whose units lie along ``axis``."""
    outer = inner = 1
    for size in shape[:axis]:
        outer *= size
    for size in shape[axis + 1 :]:
        inner *= size
    return outer, shape[axis], inner
