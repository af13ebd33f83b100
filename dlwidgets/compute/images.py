"""Pictures in and out of tensors: a user's image as an input for a model, a tensor as something to look at."""

from importlib.util import find_spec
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

MAX_SIDE = 1024
"""A picture that nobody asked a size for is shrunk to this many pixels on its longer side."""


def load_image(source: Any = None) -> Float[Tensor, "channel height width"]:
    """Read an image as float32 in [0, 1] with 1 or 3 channels.

    Args:
        source: a path, a PIL image, an array or tensor of shape (height, width), (height, width, channel) or (channel,
            height, width), with or without a batch axis of length 1 in front (where both fit, an array has its
            channels last and a tensor first); None: a photograph that ships with
            scikit-learn. uint8 is taken as 0 to 255, bool as 0 and 1; other numbers are taken as they are if they lie
            in [0, 1], else their range is mapped to it. An alpha channel is dropped.

    Raises:
        TypeError: something else, or numbers that are not real.
        ValueError: no such file, not an image, no pixels, another shape, NaN or infinite values.
    """
    if source is None:
        source = _photograph()
    if isinstance(source, str | PathLike):
        return _from_pil(_open(source))
    if is_pil(source):
        return _from_pil(source)
    if isinstance(source, np.ndarray):
        if source.dtype.kind not in "buif":
            raise TypeError(f"image must hold real numbers, got {source.dtype}")
        if source.dtype.kind == "u" and source.dtype.itemsize > 1:
            source = source.astype(np.float64)
        source = torch.from_numpy(np.array(source, order="C"))
        return _from_tensor(source, channels_last=True)
    if not isinstance(source, Tensor):
        raise TypeError(f"image must be a path, a PIL image, an array or a tensor, got {type(source).__name__}")
    return _from_tensor(source)


def resized(
    image: Float[Tensor, "channel height width"], num_channels: int, height: int, width: int
) -> Float[Tensor, "num_channels height width"]:
    """Cut the middle of the wanted proportions out of an image and resample it (pillow's Lanczos filter).

    An image of the right size is only copied. 1 channel is the luma (ITU-R 601) of three, more than 3 repeat them.
    """
    from PIL import Image, ImageOps

    if tuple(image.shape[1:]) != (height, width):
        planes = [Image.fromarray(plane.numpy(), mode="F") for plane in image]
        fitted = [ImageOps.fit(plane, (width, height), Image.Resampling.LANCZOS) for plane in planes]
        image = torch.stack([torch.from_numpy(np.array(plane)) for plane in fitted]).clamp(0, 1)
    if num_channels == 1 and image.shape[0] == 3:
        image = (image * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(0, keepdim=True)
    return image[torch.arange(num_channels) % image.shape[0]].clone()


def shrunk(image: Float[Tensor, "channel height width"]) -> Float[Tensor, "channel height2 width2"]:
    """The image itself, or one of the same proportions whose longer side has `MAX_SIDE` pixels if it is larger."""
    longest = max(image.shape[1:])
    if longest <= MAX_SIDE:
        return image
    height, width = (max(1, round(side * MAX_SIDE / longest)) for side in image.shape[1:])
    return resized(image, image.shape[0], height, width)


def to_picture(values: Tensor, axes: tuple[int, ...]) -> UInt8[np.ndarray, "height width 3"]:
    """Show the first sample of an input as a picture over the last two of its position ``axes``.

    Three channels with two axes of positions are colours; otherwise all other axes are averaged and drawn grey. One
    axis of positions becomes one row, none one pixel; of the axes before the last two the first position is shown.
    Values in [0, 1] are taken as they are, others are mapped to it by their range; what is not finite is black.
    """
    sample = values.detach().cpu()
    sample = torch.view_as_real(sample).norm(dim=-1) if sample.is_complex() else sample
    sample = sample.to(torch.float32)
    axes = tuple(axis % max(sample.ndim, 1) for axis in axes)
    others = [axis for axis in range(sample.ndim) if axis not in axes]
    sample = sample.permute(*others, *axes)
    num_others = len(others)
    if num_others and 0 in others:  # the batch: only its first sample
        sample, num_others = sample[0], num_others - 1
    colour = num_others == 1 and len(axes) >= 2 and sample.shape[0] == 3
    sample = sample.flatten(0, num_others - 1) if num_others else sample.unsqueeze(0)
    if not colour:
        sample = sample.mean(0, keepdim=True)
    while sample.ndim > 3:
        sample = sample[:, 0]
    while sample.ndim < 3:
        sample = sample.unsqueeze(1)
    unit = torch.nan_to_num(_to_unit_interval(sample), nan=0.0, posinf=0.0, neginf=0.0)
    levels = (255 * unit).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(levels.expand(3, -1, -1).permute(1, 2, 0).numpy())


def to_pil(image: Float[Tensor, "channel height width"] | None) -> Any:
    """A PIL image of what `load_image` gives, 8 bits a channel: unlike an array it can be compared and linked."""
    from PIL import Image

    if image is None:
        return None
    levels = (255 * image).round().clamp(0, 255).to(torch.uint8)
    return Image.fromarray(levels[0].numpy() if len(levels) == 1 else levels.permute(1, 2, 0).contiguous().numpy())


def _photograph() -> Path:
    spec = find_spec("sklearn")
    if spec is None or not spec.submodule_search_locations:
        raise ValueError("no image was given, and scikit-learn, whose photograph would be shown, is not installed")
    return Path(spec.submodule_search_locations[0]) / "datasets" / "images" / "china.jpg"


def is_pil(source: Any) -> bool:
    """Whether something is a PIL image."""
    from PIL import Image

    return isinstance(source, Image.Image)


def _open(path: str | PathLike[str]) -> Any:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            image.load()
            return image.copy()
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError) as error:
        raise ValueError(f"image: cannot read {fspath(path)!r} as an image: {error}") from error


def _from_pil(image: Any) -> Tensor:
    if 0 in image.size:
        raise ValueError(f"image has no pixels, its size is {image.size}")
    if image.mode in ("I;16", "I", "F"):
        return _from_tensor(torch.from_numpy(np.array(image, dtype=np.float64)))
    grey = image.mode in ("1", "L", "LA")
    return _from_tensor(torch.from_numpy(np.array(image.convert("L" if grey else "RGB"))), channels_last=True)


def _from_tensor(values: Tensor, channels_last: bool = False) -> Tensor:
    if values.is_complex():
        raise TypeError(f"image must hold real numbers, got {values.dtype}")
    if values.is_meta:
        raise TypeError("image is a tensor on the meta device, which holds no numbers")
    values = values.detach().cpu()
    shape = tuple(values.shape)
    if values.numel() == 0:
        raise ValueError(f"image has no pixels, its shape is {shape}")
    if values.ndim == 4 and shape[0] == 1:
        values = values[0]
    if values.ndim == 2:
        values = values.unsqueeze(0)
    elif values.ndim == 3:
        first, last = values.shape[0] in (1, 3, 4), values.shape[2] in (1, 3, 4)
        values = values.movedim(2, 0) if last and (channels_last or not first) else values
    if values.ndim != 3 or values.shape[0] not in (1, 3, 4):
        raise ValueError(
            f"image has shape {shape}, expected (height, width), (height, width, channel) or (channel, height, width) "
            "with 1, 3 or 4 channels"
        )
    values = values[:3] if values.shape[0] == 4 else values
    if values.dtype == torch.uint8:
        return (values / 255).contiguous()
    if values.dtype == torch.bool:
        return values.float().contiguous()
    bad = int((~torch.isfinite(values.double())).sum())
    if bad:
        raise ValueError(f"image holds {bad} values that are NaN or infinite, expected finite numbers")
    return _to_unit_interval(values.double()).float().contiguous()


def _to_unit_interval(values: Tensor) -> Tensor:
    finite = values[torch.isfinite(values)]
    if finite.numel() == 0:
        return values
    low, high = finite.min(), finite.max()
    if low >= 0 and high <= 1:
        return values
    return (values - low) / (high - low) if high > low else torch.full_like(values, 0.5)
