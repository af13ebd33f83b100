"""What a decoder gives, as bytes to look at: grey or coloured pictures, or curves for what is one-dimensional."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from dlwidgets.compute.latent_space.inputs import as_count, shape

MAX_SIDE = 128
"""Larger pictures are shrunk to this many pixels on their longer side."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """Pictures as bytes: grey (picture, height, width) or coloured (picture, height, width, 3)."""

    values: UInt8[Tensor, "picture height width *color"]
    valid: Bool[Tensor, "picture"]  # False where a value is not finite; the bytes are 0 there
    curve: bool  # a picture is one row, the heights of a curve


def as_picture_shape(value: Any) -> tuple[int, ...] | None:
    """None or a shape of positive integers, such as (28, 28) or (3, 32, 32)."""
    if value is None:
        return None
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError(f"picture_shape: expected a shape such as (28, 28), got {value!r:.80}")
    return tuple(as_count(length, "picture_shape") for length in value)


def arranged(
    outputs: Float[Tensor, "picture ..."], *, picture_shape: tuple[int, ...] | None = None, like: Any = ()
) -> tuple[Float[Tensor, "picture height width *color"], bool]:
    """Outputs as pictures (height, width) or (height, width, 3), and whether they are curves of one row.

    A leading or trailing axis of 3 is taken as colour, one of 1 is dropped, other channels are averaged; one axis alone
    is a curve. ``picture_shape`` is how to read each output first; a vector as long as pictures of the shape ``like``
    is read as one of these.
    """
    form = tuple(outputs.shape[1:])
    size = math.prod(form)
    if picture_shape is not None:
        if math.prod(picture_shape) != size:
            raise ValueError(
                f"picture_shape: expected a shape of {size} values, as many as an output of shape {form} has, "
                f"got {picture_shape}"
            )
        form = picture_shape
    elif len(form) <= 1 and len(like) > 1 and math.prod(like) == size:
        form = tuple(like)
    pictures = outputs.reshape(-1, *form).float()
    while pictures.dim() > 4:
        pictures = pictures.mean(1)
    if pictures.dim() == 4:
        if pictures.shape[1] == 3:
            return pictures.permute(0, 2, 3, 1), False
        if pictures.shape[3] == 3 and pictures.shape[1] != 1:
            return pictures, False
        last = pictures.shape[3] == 1 and pictures.shape[1] != 1
        pictures = pictures.mean(3 if last else 1)
    if pictures.dim() < 3:
        pictures = pictures.reshape(len(pictures), 1, -1)
    return pictures, pictures.shape[1] == 1


def value_range(*stacks: Tensor | None) -> tuple[float, float]:
    """(0, 1) if all finite values lie in it, to 5 %; else their range."""
    ends = [(float(v.min()), float(v.max())) for s in stacks if s is not None and len(v := s[torch.isfinite(s)]) > 0]
    low, high = min((e[0] for e in ends), default=0.0), max((e[1] for e in ends), default=1.0)
    if low >= -0.05 and high <= 1.05:
        return 0.0, 1.0
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def scales_differ(first: Tensor, second: Tensor) -> bool:
    """Whether one of them reaches ten, and ten times as far from 0 as the other: then no range of shades fits both."""
    small, large = sorted((_reach(first), _reach(second)))
    return large >= 10 and large >= 10 * small


def image_scale(images: Tensor, decoded: Tensor) -> float:
    """What to divide images by to compare them with decoded pictures: 1, except where these are in [0, 1], to 5 %, and
    the images, none negative, are on another scale. Then 255 for bytes, else their largest value."""
    values = decoded[torch.isfinite(decoded)]
    unit = len(values) > 0 and float(values.min()) >= -0.05 and float(values.max()) <= 1.05
    if not unit or not scales_differ(images, decoded) or bool((images < 0).any()):
        return 1.0
    return 255.0 if images.dtype == torch.uint8 else _reach(images)


def shades(images: Tensor, own: Tensor, decoded: Tensor) -> tuple[tuple[float, float], tuple[float, float], str]:
    """Which values of decoded pictures and of images are black and white, and what has to be said of it."""
    apart = value_range(decoded), value_range(own), ""
    if decoded.shape[1:] != own.shape[1:]:
        return apart
    if not scales_differ(own, decoded):
        together = value_range(decoded, own)
        return together, together, ""
    scale = image_scale(images, decoded)
    if scale != 1:
        note = f"The decoder's pictures are in [0, 1], the images are not: they are divided by {scale:g}."
        return (0.0, 1.0), (0.0, scale), note
    (low, high), (image_low, image_high), _ = apart
    return *apart[:2], (
        f"The images go from {image_low:g} to {image_high:g}, the decoder's pictures from {low:g} to {high:g}: "
        "each has shades of its own."
    )


def _reach(stack: Tensor) -> float:
    values = stack[torch.isfinite(stack)]
    return max(abs(float(values.min())), abs(float(values.max()))) if len(values) > 0 else 0.0


def shrunk(
    pictures: Float[Tensor, "picture height width *color"], max_values: int | None = None
) -> Float[Tensor, "picture height2 width2 *color"]:
    """Pictures of at most `MAX_SIDE` pixels each way, and about ``max_values`` numbers each, by averaging areas."""
    height, width = pictures.shape[1:3]
    scale = MAX_SIDE / max(height, width)
    if max_values is not None:
        scale = min(scale, math.sqrt(max_values / max(1, pictures[0].numel())))
    if scale >= 1:
        return pictures
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    channels = pictures.dim() == 4
    planes = pictures.movedim(3, 1) if channels else pictures[:, None]
    small = F.interpolate(planes, size=size, mode="area")
    return small.movedim(1, 3) if channels else small[:, 0]


def to_bytes(
    pictures: Float[Tensor, "picture height width *color"], limits: tuple[float, float], curve: bool
) -> Pictures:
    """Pictures with ``limits`` mapped to 0 and 255; what lies beyond is cut, what is not finite becomes invalid."""
    low, high = limits
    valid = torch.isfinite(pictures).flatten(1).all(1)
    levels = ((pictures - low) * (255 / (high - low))).round().clamp(0, 255)
    levels[~valid] = 0
    return Pictures(levels.to(torch.uint8).contiguous(), valid, curve)


def describe_shape(outputs: Tensor) -> str:
    """The shape of one output, for a person."""
    return " × ".join(map(str, shape(outputs)[1:])) or "one number"
