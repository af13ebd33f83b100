"""The record of a run: what the samples said, in tables, and the verdicts on them."""

import copy
import dataclasses
import math
import threading
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .ledger import Ledger
from .result import GradientFlow, Position, SharedParameter
from .rhythm import Overhead
from .sample import Sample
from .verdicts import Background, Thresholds, judge

_BY_POSITION = (
    "activation_mean",
    "activation_std",
    "zero_fraction",
    "saturated_fraction",
    "dead_fraction",
    "gradient_norm",
)
_BY_PARAMETER = ("parameter_gradient_norm", "weight_norm", "update_ratio", "lost_fraction")


class History:
    """What has been seen so far. Written by the training thread, read by any."""

    def __init__(self, thresholds: Thresholds) -> None:
        self.revision = 0
        self._thresholds = thresholds
        self._lock = threading.RLock()
        self._steps: list[int] = []
        self._positions: dict[Position, int] = {}
        self._parameters: dict[str, int] = {}
        self._by_position = Ledger(_BY_POSITION)
        self._by_parameter = Ledger(_BY_PARAMETER)
        self._calls: dict[str, dict[int, int]] = {}  # shared parameter -> position -> column
        self._shared: dict[str, Ledger] = {}
        self._alive: dict[int, np.ndarray] = {}
        self._background = Background()
        self._loss_steps: list[int] = []
        self._losses: list[float | Tensor] = []
        self._nonfinite: tuple[int, str] | None = None
        self._cached: GradientFlow | None = None

    def position(self, position: Position, saturates: bool, rests: bool, passes_on: bool) -> int:
        """The column of ``position``; new ones come with what the verdicts need to know of the module."""
        with self._lock:
            at = self._positions.get(position)
            if at is None:
                at = self._positions[position] = len(self._positions)
                self._background.add(saturates, rests, passes_on)
            return at

    def parameter(self, name: str) -> int:
        """The column of the parameter ``name``."""
        with self._lock:
            return self._parameters.setdefault(name, len(self._parameters))

    def log(self, step: int, loss: float | Tensor) -> None:
        """A loss that somebody has noted."""
        with self._lock:
            self._loss_steps.append(step)
            self._losses.append(loss)
            self.changed()

    def write(self, sample: Sample, parameters: dict[str, Any]) -> list[int]:
        """Take a finished sample. Returns the positions that turned out to have no dead unit."""
        with self._lock:
            lively = self._write_positions(sample)
            self._write_parameters(sample)
            self._write_shared(sample, {id(p): name for name, p in parameters.items()} if sample.contribution else {})
            self._background.frozen = tuple(n for n, p in parameters.items() if not p.requires_grad)
            self._background.trained = tuple(n for n, p in parameters.items() if p.requires_grad)
            self._steps.append(sample.step)
            self.changed()
            return lively

    def result(self, overhead: Overhead) -> GradientFlow:
        """Everything so far."""
        with self._lock:
            if self._cached is None:
                self._cached = self._build(overhead)
            # copies: somebody may write into them, before a logarithm say
            tables = {name: getattr(self._cached, name).clone() for name in _BY_POSITION + _BY_PARAMETER}
            return dataclasses.replace(self._cached, overhead=overhead, **tables)

    def preview(self, samples: list[Sample], parameters: dict[str, Any]) -> "History":
        """What this record, which has no rows yet, will be if ``samples`` turn out to be whole steps."""
        with self._lock:
            other = History(self._thresholds)
            other._positions, other._parameters = dict(self._positions), dict(self._parameters)
            other._background = copy.deepcopy(self._background)
            other._loss_steps, other._losses = list(self._loss_steps), list(self._losses)
        for sample in samples:
            other.write(sample, parameters)
        return other

    def changed(self) -> None:
        """There is something new to say."""
        self._cached = None
        self.revision += 1

    def _write_positions(self, sample: Sample) -> list[int]:
        moments, width = sample.moments(), len(self._positions)
        count, mean, squares, zeros, saturated = moments.table(width)
        used = count > 0
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = np.where(used, mean, np.nan)
            std = np.where(used, np.sqrt(squares / count), np.nan)
            zeros = np.where(used, zeros / count, np.nan)
            known = used & np.array(self._background.saturates, dtype=bool)
            saturated = np.where(known, saturated / count, np.nan)
        gradient = np.full(width, np.nan)
        for at, norm in sample.gradient.items():
            gradient[at] = norm
        lively = []
        dead = np.where(used, 0.0, np.nan)
        for at, alive in moments.alive.items():
            known_alive = self._alive.get(at)
            if known_alive is not None and known_alive.shape == alive.shape:
                alive = alive | known_alive
            self._alive[at] = alive
            dead[at] = 1.0 - alive.mean()
            if alive.all():
                lively.append(at)
        self._background.saw(count, {at: len(alive) for at, alive in self._alive.items()})
        row = (mean, std, zeros, saturated, dead, gradient)
        self._by_position.append(width, dict(zip(_BY_POSITION, row, strict=True)))
        if self._nonfinite is None:
            self._find_nonfinite(sample, mean)
        return lively

    def _find_nonfinite(self, sample: Sample, mean: np.ndarray) -> None:
        # both are in the order in which they came: forwards from the input on, gradients from the loss on
        finite = self._thresholds.finite
        what = "the output of"
        found = [at for at, row in sample.moments().rows.items() if row[0] > 0 and not finite(mean[at])]
        if not found:
            what = "the gradient at the output of"
            found = [at for at, norm in sample.gradient.items() if not finite(norm)]
        if found:
            at = found[0]
            self._nonfinite = sample.step, f"{what} {list(self._positions)[at]}"
            self._background.nonfinite_position = at

    def _write_parameters(self, sample: Sample) -> None:
        width = len(self._parameters)
        rows = []
        for values in (sample.parameter_gradient, sample.weight, sample.update_ratio(), sample.lost):
            row = np.full(width, np.nan)
            row[sample.columns] = values
            rows.append(row)
        self._background.graded.update(sample.columns[i] for i in sample.graded)
        self._by_parameter.append(width, dict(zip(_BY_PARAMETER, rows, strict=True)))

    def _write_shared(self, sample: Sample, names: dict[int, str]) -> None:
        found: dict[str, dict[int, float]] = {}
        for (identity, position), norm in sample.contribution.items():
            if identity in names:
                found.setdefault(names[identity], {})[position] = norm
        for name in found:
            if name not in self._shared:
                self._calls[name], self._shared[name] = {}, Ledger(("gradient_norm",))
                for _ in self._steps:
                    self._shared[name].append(0, {"gradient_norm": np.zeros(0)})
        for name, ledger in self._shared.items():
            columns = self._calls[name]
            for position in sorted(found.get(name, {})):
                columns.setdefault(position, len(columns))
            row = np.full(len(columns), np.nan)
            for position, norm in found.get(name, {}).items():
                row[columns[position]] = norm
            ledger.append(len(columns), {"gradient_norm": row})

    def _build(self, overhead: Overhead) -> GradientFlow:
        loss = torch.tensor([float(value) for value in self._losses], dtype=torch.float64)
        nonfinite = self._nonfinite
        broken = [i for i, value in enumerate(loss.tolist()) if not self._thresholds.finite(value)]
        if len(broken) and (nonfinite is None or self._loss_steps[broken[0]] < nonfinite[0]):
            nonfinite = self._loss_steps[broken[0]], f"the loss ({float(loss[broken[0]])})"
        flow = GradientFlow(
            steps=torch.tensor(self._steps, dtype=torch.int64),
            positions=tuple(self._positions),
            parameters=tuple(self._parameters),
            **{name: self._table(self._by_position, name, len(self._positions)) for name in _BY_POSITION},
            **{name: self._table(self._by_parameter, name, len(self._parameters)) for name in _BY_PARAMETER},
            dead_units={at: torch.from_numpy(~alive) for at, alive in self._alive.items() if not alive.all()},
            shared=tuple(
                self._shared_parameter(name) for name in self._parameters if len(self._calls.get(name, ())) > 1
            ),
            loss_steps=torch.tensor(self._loss_steps, dtype=torch.int64),
            loss=loss,
            nonfinite=nonfinite,
            verdicts=(),
            thresholds=self._thresholds,
            overhead=overhead,
        )
        return dataclasses.replace(flow, verdicts=judge(flow, self._background))

    @staticmethod
    def _table(ledger: Ledger, name: str, width: int) -> Tensor:
        table = ledger[name]
        missing = width - table.shape[1]
        return torch.nn.functional.pad(table, (0, missing), value=math.nan) if missing > 0 else table

    def _shared_parameter(self, name: str) -> SharedParameter:
        norm = self._shared[name]["gradient_norm"]
        largest = norm.nan_to_num(nan=0.0).amax(1, keepdim=True)
        scaled = (norm / largest) ** 2  # squares of 1e-200 would be lost otherwise
        share = scaled / scaled.nansum(1, keepdim=True)
        return SharedParameter(name, tuple(self._calls[name]), norm, share)
