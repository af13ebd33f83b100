"""What to draw of a model's input: a picture, a signal or a few numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Num
from torch import Tensor

MAX_BARS = 40
MAX_SIDE = 512
MAX_LINES = 3


@dataclass(frozen=True, eq=False)
class InputDrawn:
    """One input of a batch.

    Attributes
    ----------
    kind
        "image": ``values`` are float32 (row, column), or uint8 (row, column, 3) for a picture in colours.
        "line": float32 (channel, position). "bars": float32 (1, position).
    values
        The numbers.
    note
        What is left out, in words; "" where nothing is.
    """

    kind: Literal["image", "line", "bars"]
    values: Num[Tensor, "..."]
    note: str


def input_drawn(inputs: Any, num_predictions: int, index: int = 0) -> InputDrawn | None:
    """What to draw of the input at ``index``; None where it is no such thing, or not known which part it is.

    It is taken from the first tensor whose axis 0 counts as many entries as there are predictions; a single prediction
    may also belong to a whole tensor. (channel, row, column) and (row, column) are images, (channel, position) with
    few channels and long vectors are lines, short vectors bars.
    """
    chosen = _chosen(inputs, num_predictions, index)
    if chosen is None:
        return None
    item = chosen.detach().to("cpu", torch.float32)
    while item.ndim > 1 and item.shape[0] == 1:
        item = item[0]
    if item.ndim not in (1, 2, 3) or item.numel() == 0:
        return None
    if item.ndim == 1:
        return InputDrawn("bars" if len(item) <= MAX_BARS else "line", item.unsqueeze(0), "")
    if item.ndim == 2 and len(item) < min(MAX_BARS, item.shape[1] / 4):
        return InputDrawn("line", item[:MAX_LINES], _of("channel", MAX_LINES, len(item)))
    if item.ndim == 2:
        return InputDrawn("image", _smaller(item), "")
    if len(item) == 3:
        return InputDrawn("image", _colours(_smaller(item)).permute(1, 2, 0).contiguous(), "")
    return InputDrawn("image", _smaller(item[0]), _of("channel", 1, len(item)))


def _chosen(inputs: Any, num_predictions: int, index: int) -> Tensor | None:
    values = inputs.values() if isinstance(inputs, Mapping) else inputs if isinstance(inputs, tuple) else (inputs,)
    tensors = [value for value in values if isinstance(value, Tensor) and not value.is_complex()]
    for tensor in tensors:
        if tensor.ndim > 1 and len(tensor) == num_predictions:
            return tensor[index]
    return tensors[0] if num_predictions == 1 and tensors else None


def _of(what: str, shown: int, total: int) -> str:
    if shown >= total:
        return ""
    return f"{what} 1 of {total}" if shown == 1 else f"{what}s 1 to {shown} of {total}"


def _smaller(picture: Tensor) -> Tensor:
    """Every so many-th row and column, where there are more than can be seen."""
    step = max(1, -(-max(picture.shape[-2:]) // MAX_SIDE))
    return picture[..., ::step, ::step].contiguous()


def _colours(picture: Tensor) -> Tensor:
    """From 0 to 255: numbers from 0 to 1 and from 0 to 255 as they are, others stretched to their range."""
    finite = picture.nan_to_num(0.0, 0.0, 0.0)
    low, high = float(finite.min()), float(finite.max())
    if low >= 0 and high <= 255:
        scaled = finite * (255 if high <= 1 else 1)
    else:
        scaled = (finite - low) * (255 / max(high - low, 1e-30))
    return scaled.round().to(torch.uint8)
