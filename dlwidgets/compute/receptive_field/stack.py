"""A small network put together by hand, one convolution or pooling a row."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

LARGEST = {"kernel_size": 31, "stride": 16, "dilation": 16, "padding": 64}
"""The greatest number that a row takes for each of its settings."""


@dataclass(frozen=True)
class Row:
    """One layer of a stack, the same along both axes; ``pool`` makes it a max pooling instead of a convolution."""

    kernel_size: int = 3
    stride: int = 1
    dilation: int = 1
    padding: int = 0
    pool: bool = False

    def as_dict(self) -> dict[str, Any]:
        """The settings by name."""
        return asdict(self)


def to_row(spec: Any, index: int = 0) -> Row:
    """Read one layer: a `Row`, a mapping of its settings, or a square Conv2d, MaxPool2d or AvgPool2d.

    A pooling whose stride is not given moves by its own size, as in torch.

    Raises:
        TypeError: something else, or a setting of another type.
        ValueError: an unknown setting, or one out of range; the message names layer ``index``.
    """
    if isinstance(spec, Row):
        spec = spec.as_dict()
    elif isinstance(spec, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
        spec = _settings_of(spec, index)
    if not isinstance(spec, Mapping):
        raise TypeError(
            f"layer {index} must be a dict such as {{'kernel_size': 3, 'stride': 2}} or a Conv2d, MaxPool2d or "
            f"AvgPool2d, got {type(spec).__name__}"
        )
    unknown = [str(name) for name in spec if name not in Row.__dataclass_fields__]
    if unknown:
        valid = ", ".join(Row.__dataclass_fields__)
        raise ValueError(f"layer {index} has an unknown setting {unknown[0]!r}; valid ones are: {valid}")
    settings = dict(spec)
    pool = settings.get("pool", False)
    if not isinstance(pool, bool):
        raise TypeError(f"layer {index}: pool must be True or False, got {pool!r}")
    if pool:
        settings.setdefault("kernel_size", 2)
        settings.setdefault("stride", settings["kernel_size"])
    row = Row(**settings)
    for name, largest in LARGEST.items():
        value, least = getattr(row, name), 0 if name == "padding" else 1
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"layer {index}: {name} must be an int, got {value!r}")
        if not least <= value <= largest:
            raise ValueError(f"layer {index}: {name} is {value}, expected {least} to {largest}")
    if row.pool and row.padding > row.kernel_size // 2:
        raise ValueError(
            f"layer {index}: padding is {row.padding}, but a pooling of size {row.kernel_size} takes at most "
            f"{row.kernel_size // 2}"
        )
    return row


def to_rows(specs: Any) -> tuple[Row, ...]:
    """Read a list of layers, see `to_row`.

    Raises:
        TypeError: no list or tuple.
        ValueError: an empty one.
    """
    if isinstance(specs, nn.Sequential):
        specs = list(specs)
    if not isinstance(specs, Sequence) or isinstance(specs, str | bytes):
        raise TypeError(f"layers must be a list of layers, got {type(specs).__name__}")
    if not specs:
        raise ValueError("layers is empty, expected at least one layer")
    return tuple(to_row(spec, index) for index, spec in enumerate(specs))


def build_stack(rows: Sequence[Row]) -> nn.Sequential:
    """The network that the rows describe: one channel in, one channel out of every layer, named by its settings."""
    with torch.random.fork_rng(devices=[]):  # initialising the weights must not move the global generator
        torch.manual_seed(0)
        named = [(f"{number}: {name_of(row)}", _module_of(row)) for number, row in enumerate(rows, 1)]
        return nn.Sequential(OrderedDict(named))


def name_of(row: Row) -> str:
    """A short name, such as ``conv 3, stride 2``."""
    parts = [f"{'pool' if row.pool else 'conv'} {row.kernel_size}"]
    if row.stride != (row.kernel_size if row.pool else 1):
        parts.append(f"stride {row.stride}")
    if row.dilation != 1:
        parts.append(f"dilation {row.dilation}")
    if row.padding != 0:
        parts.append(f"padding {row.padding}")
    return ", ".join(parts)


def _module_of(row: Row) -> nn.Module:
    settings = row.as_dict()
    if settings.pop("pool"):
        return nn.MaxPool2d(**settings)
    return nn.Conv2d(1, 1, **settings)


def _settings_of(module: nn.Module, index: int) -> dict[str, Any]:
    def single(name: str, default: int = 1) -> int:
        value = getattr(module, name, default)
        if isinstance(value, tuple | list):
            if len(set(value)) != 1:
                raise ValueError(f"layer {index}: {name} is {tuple(value)}, expected the same along both axes")
            return int(value[0])
        if isinstance(value, str):
            raise ValueError(f"layer {index}: {name} is {value!r}, expected a number")
        return int(value)

    for name, expected in (("padding_mode", "zeros"), ("ceil_mode", False)):
        given = getattr(module, name, expected)
        if given != expected:
            raise ValueError(f"layer {index}: {name} is {given!r}, expected {expected!r}")
    settings: dict[str, Any] = {name: single(name) for name in ("kernel_size", "stride", "dilation")}
    return {**settings, "padding": single("padding", 0), "pool": not isinstance(module, nn.Conv2d)}
