"""The tables of the meter: rows are sampled steps, columns are added when they are first seen."""

import numpy as np
import torch
from torch import Tensor


class Ledger:
    """Named float64 tables of equal height that grow in both directions; what was never written is nan."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.num_rows = 0
        self.num_columns = 0
        self._tables = {name: np.full((16, 16), np.nan) for name in names}

    def append(self, num_columns: int, rows: dict[str, np.ndarray]) -> None:
        """One more row of each table; rows may be shorter than ``num_columns``."""
        self.num_columns = max(self.num_columns, num_columns)
        for name, table in self._tables.items():
            if self.num_rows == table.shape[0] or self.num_columns > table.shape[1]:
                height = max(table.shape[0], 2 * self.num_rows)
                width = max(table.shape[1], 2 * self.num_columns if self.num_columns > table.shape[1] else 0)
                larger = np.full((height, width), np.nan)
                larger[: table.shape[0], : table.shape[1]] = table
                self._tables[name] = table = larger
            row = rows[name]
            table[self.num_rows, : len(row)] = row
        self.num_rows += 1

    def __getitem__(self, name: str) -> Tensor:
        """A copy of one table."""
        return torch.from_numpy(self._tables[name][: self.num_rows, : self.num_columns].copy())
