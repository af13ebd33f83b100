"""The parameters in one step: their norms, their gradients, and what the optimizer really did to them."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .sites import materialised
from .statistics import Floats, Transfer, dense, on_host, row_norms, scale_for

#: The elements of a large parameter are summed in rows of this length, and the rows in float64.
ROW = 1 << 14
#: Elements copied and measured at a time, while they are in a cache.
PIECE = 1 << 17
#: Snapshots larger than this many bytes are not kept between samples.
KEEP = 64 << 20


def _copy_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


@dataclass(eq=False)
class Batch:
    """Parameters of one size, dtype and device, with a row each of one matrix for their copies."""

    parameters: list[Any]
    at: list[int]
    rows: Tensor
    views: list[Tensor]
    scales: list[float]  # of the expected changes


class Weights:
    """Copies the parameters at the beginning of a sampled step and compares them at its end."""

    def __init__(self) -> None:
        self.complete = True  # False while some parameters of lazy modules have no values yet
        self._batches: list[Batch] = []
        self._key: list[tuple[object, ...]] = []
        self._scratch: Tensor | None = None

    def before(self, parameters: list[Any], transfer: Transfer, norm: Floats) -> None:
        """Copy ``parameters`` and fill ``norm`` (one entry each) with their L2 norms; nan where there are no values
        yet.
        """
        self._prepare(parameters)
        with torch.no_grad():
            for batch in self._batches:
                torch._foreach_copy_(batch.views, batch.parameters)
                self._norms(batch, transfer, norm)

    def after(self, transfer: Transfer, change: Floats) -> None:
        """Fill ``change`` with the L2 norms of what the parameters have changed by since `before`."""
        with torch.no_grad():
            for batch in self._batches:
                torch._foreach_sub_(batch.views, batch.parameters)
                self._norms(batch, transfer, change, batch.scales)
                batch.scales = [scale_for(norm) for norm in change[batch.at].tolist()]

    def unchanged(self, ratio: Floats, gradient: Floats) -> Floats:
        """The share of elements that an update left as they were although their gradient is not zero; nan without
        gradient. Only after `after`.
        """
        share = np.full(len(ratio), np.nan)
        for batch in self._batches:
            asked = [row for row, at in enumerate(batch.at) if gradient[at] > 0]
            if len(batch.at) > 1 and asked:
                moved = _moved(batch.rows)
                settled = [row for row in asked if moved[row] in (0, batch.rows.shape[1])]
                share[[batch.at[row] for row in settled]] = [float(moved[row] == 0) for row in settled]
                asked = [row for row in asked if 0 < moved[row] < batch.rows.shape[1]]
            for row in asked:
                share[batch.at[row]] = _lost(batch.rows[row], batch.parameters[row])
        return share

    def release(self) -> None:
        """Forget the copies if they are large."""
        if sum(batch.rows.numel() * batch.rows.element_size() for batch in self._batches) > KEEP:
            self.forget()

    def forget(self) -> None:
        """Forget the copies."""
        self._batches, self._key, self._scratch = [], [], None

    def _prepare(self, parameters: list[Any]) -> None:
        key: list[tuple[object, ...]] = [
            (id(p), p.dtype, p.device, p.shape if materialised(p) else None) for p in parameters
        ]
        if key == self._key and self._batches:
            return
        self._key, self._batches = key, []
        self.complete = all(materialised(p) for p in parameters)
        kinds: dict[tuple[int, torch.dtype, torch.device], list[int]] = {}
        for at, p in enumerate(parameters):
            if (
                materialised(p)
                and p.numel()
                and (p.is_floating_point() or p.is_complex())
                and p.dtype.itemsize > 1  # torch calculates with no float8
                and p.layout == torch.strided
            ):
                kinds.setdefault((p.numel(), p.dtype, p.device), []).append(at)
        for (numel, dtype, device), everyone in kinds.items():
            at_a_time = max(1, PIECE // numel)
            for start in range(0, len(everyone), at_a_time):
                self._add(parameters, everyone[start : start + at_a_time], dtype, device)

    def _add(self, parameters: list[Any], members: list[int], dtype: torch.dtype, device: torch.device) -> None:
        chosen = [parameters[at].detach() for at in members]
        rows = torch.empty((len(members), chosen[0].numel()), dtype=_copy_dtype(dtype), device=device)
        views = [row.view(p.shape) for row, p in zip(rows.unbind(0), chosen, strict=True)]
        self._batches.append(Batch([parameters[at] for at in members], members, rows, views, [1.0] * len(members)))

    def _norms(self, batch: Batch, transfer: Transfer, into: Floats, scales: list[float] | None = None) -> None:
        rows = torch.view_as_real(batch.rows).flatten(1) if batch.rows.is_complex() else batch.rows
        at, numel = np.array(batch.at), rows.shape[1]
        if numel <= ROW:

            def place(found: list[float]) -> None:
                into[at] = found

            scratch = None
            if scales is not None and rows.dtype == torch.float32 and rows.numel() <= PIECE and on_host(rows.device):
                if self._scratch is None:
                    self._scratch = torch.empty(PIECE, dtype=torch.float32)
                scratch = self._scratch[: rows.numel()].view(rows.shape)
            row_norms(rows, transfer, place, scales, scratch)
            return
        whole = numel // ROW * ROW
        pieces = [rows[:, :whole].reshape(-1, ROW)] + ([rows[:, whole:]] if whole < numel else [])

        def combine(found: list[float]) -> None:
            parts = np.array(found).reshape(len(at), -1)
            largest = parts.max(1, keepdims=True)
            scale = np.where((largest > 0) & np.isfinite(largest), largest, 1.0)
            root = np.sqrt(((parts / scale) ** 2).sum(1)) * scale[:, 0]
            total[:] = np.where(np.isnan(root) | np.isnan(total), np.nan, np.hypot(total, root))
            into[at] = total

        total = np.zeros(len(at))
        for piece in pieces:
            row_norms(piece, transfer, combine)


def _moved(changes: Tensor) -> list[int]:
    """How many elements of each row have changed."""
    if on_host(changes.device):
        changed = changes.numpy() != 0
        return [int(np.count_nonzero(row)) for row in changed]
    found: list[int] = (changes != 0).sum(1).tolist()
    return found


def _lost(changes: Tensor, parameter: Any) -> float:
    """The share of the elements with a gradient that have not changed; nan if nobody can tell any longer which these
    were.
    """
    gradient = parameter.grad
    if gradient is None or gradient.shape != parameter.shape:
        return math.nan if bool((changes != 0).any()) else 1.0
    if gradient.layout == torch.sparse_coo:
        gradient = gradient.detach().coalesce()
        changes = changes.view(parameter.shape)[tuple(gradient.indices())]
        gradient = gradient.values()
    asks = _pieces(dense(gradient))
    num_asked = num_lost = 0
    unasked: list[Any] = []
    for asked_of, change in zip(asks, _pieces(changes), strict=True):
        still = change == 0
        if _count(still):
            asked = asked_of != 0
            num_asked += _count(asked)
            num_lost += _count(still & asked)
        else:
            unasked.append(asked_of)  # all has moved there, so perhaps nobody need look
    if num_lost or not num_asked:
        num_asked += sum(_count(part != 0) for part in unasked)
    return num_lost / num_asked if num_asked else math.nan


def _pieces(x: Tensor) -> list[Any]:
    """The values of ``x``, flat and a piece at a time, to compare: on the host numpy is several times faster."""
    flat: Any = x.detach().resolve_conj().resolve_neg().reshape(-1)
    if on_host(x.device):
        flat = (flat.float() if x.dtype in (torch.float16, torch.bfloat16) else flat).numpy()
    return [flat] if x.numel() <= PIECE else [flat[start : start + PIECE] for start in range(0, x.numel(), PIECE)]


def _count(mask: Any) -> int:
    return int(mask.sum()) if isinstance(mask, Tensor) else int(np.count_nonzero(mask))
