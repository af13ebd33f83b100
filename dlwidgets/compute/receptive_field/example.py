"""What a model is looked at with: its arguments, and the picture that stands for the first of them."""

from dataclasses import dataclass, replace
from math import prod
from os import PathLike
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from dlwidgets.compute.images import is_pil, load_image, resized, shrunk

MOST_NUMBERS = 2**28
"""More numbers than these no shape may ask for: they would need a gigabyte."""

DEFAULT_SIZE = 224
"""Rows and columns of the input when neither an example nor an image says."""


@dataclass(frozen=True, eq=False)
class Example:
    """The positional arguments of a model, and the image they were made from.

    Attributes:
        arguments: what the model is called with, detached; the first is the input whose positions are asked about.
        image: float32 in [0, 1], before it was resized; None if the input is no image.
    """

    arguments: tuple[Any, ...]
    image: Float[Tensor, "channel height width"] | None = None

    @property
    def sizes(self) -> tuple[int, int] | None:
        """Rows and columns of the input, if an image can be resized to others."""
        first = self.arguments[0]
        return None if self.image is None else (int(first.shape[-2]), int(first.shape[-1]))

    def with_image(self, image: Float[Tensor, "channel height width"]) -> "Example":
        """The same arguments with another image, resized to the input's channels, rows and columns.

        Raises:
            ValueError: the first argument has no place for an image.
        """
        first = self.arguments[0]
        if not (isinstance(first, Tensor) and first.ndim == 4 and first.is_floating_point()):
            raise ValueError("image: the model's first input is no batch of images (batch, channel, height, width)")
        return self._filled(image, first.shape[2], first.shape[3])

    def with_sizes(self, height: int, width: int) -> "Example":
        """The same image with other numbers of rows and columns.

        Raises:
            ValueError: there is no image, or a size below 1.
        """
        if self.image is None:
            raise ValueError("size: only an image can be resized, and this input is none")
        if min(height, width) < 1:
            raise ValueError(f"size is {(height, width)}, expected at least one row and one column")
        return self._filled(self.image, height, width)

    def _filled(self, image: Tensor, height: int, width: int) -> "Example":
        first = self.arguments[0]
        batch = resized(image, first.shape[1], height, width).expand(first.shape[0], -1, -1, -1)
        batch = batch.to(first).contiguous()
        return replace(self, arguments=(batch, *self.arguments[1:]), image=image)


def read_example(model: nn.Module, given: Any = None, image: Any = None) -> Example:
    """Make an `Example` from what a person gave.

    Args:
        model: tells the number of channels (of its first convolution) and the number of axes that it expects.
        given: a tensor with a batch axis; a tuple of positional arguments; a shape including batch; an image (a path, a
            PIL image, a numpy array of two or three axes, or a tensor without the batch axis that the model's first
            convolution asks for); None for an image of 224 by 224.
        image: an image to put into the input; None: the one given, else for shapes of images a photograph.

    Raises:
        TypeError: something else, or a model that is no ``nn.Module``.
        ValueError: an empty shape or tuple, or an image that cannot be read.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if not (given is None or isinstance(given, Tensor | np.ndarray | tuple | str | PathLike) or is_pil(given)):
        raise TypeError(
            "example_or_image must be a tensor, a tuple (of positional arguments, or of ints: a shape such as "
            f"(1, 3, 224, 224)) or an image (a path, a PIL image, an array), got {type(given).__name__}"
        )
    for tensor in given if isinstance(given, tuple) else (given,):
        if isinstance(tensor, Tensor) and (tensor.is_meta or tensor.layout != torch.strided):
            kind = "on the meta device" if tensor.is_meta else "sparse"
            raise ValueError(f"example is a tensor that is {kind}, expected one with numbers in it, or a shape")
    loaded = None if image is None else load_image(image)
    if _is_shape(given):
        return _from_shape(model, tuple(int(size) for size in given), loaded)
    if isinstance(given, tuple):
        if not given:
            raise ValueError("example is an empty tuple, expected the model's positional arguments or a shape")
        return _with(Example(tuple(_detached(each) for each in given)), loaded)
    if isinstance(given, np.ndarray) and given.ndim > 3:
        given = torch.from_numpy(np.array(given))
    if isinstance(given, Tensor) and not _is_unbatched_image(model, given):
        return _with(Example((_detached(given),)), loaded)
    return _from_image(model, given, loaded)


def _is_shape(given: Any) -> bool:
    if isinstance(given, torch.Size):
        return True
    return isinstance(given, tuple) and len(given) > 0 and all(type(size) is int for size in given)


def _from_shape(model: nn.Module, shape: tuple[int, ...], image: Tensor | None) -> Example:
    if not shape or min(shape) < 1:
        raise ValueError(f"example is the shape {shape}, expected the batch and then sizes of at least 1")
    if prod(shape) > MOST_NUMBERS:
        raise ValueError(f"example is the shape {shape} of {prod(shape)} numbers, expected at most {MOST_NUMBERS}")
    generator = torch.Generator().manual_seed(0)
    example = Example((torch.rand(shape, generator=generator).to(_parameter_of(model)),))
    if len(shape) == 4:
        return example.with_image(load_image() if image is None else image)
    return _with(example, image)


def _from_image(model: nn.Module, given: Any, image: Tensor | None) -> Example:
    if image is None:
        image = load_image(given)
    size = (DEFAULT_SIZE, DEFAULT_SIZE) if given is None else tuple(shrunk(image).shape[1:])
    first = _first_convolution(model)
    num_channels = 3 if first is None or not isinstance(first, nn.Conv2d) else first.in_channels
    return Example((torch.zeros(1, num_channels, *size).to(_parameter_of(model)),)).with_image(image)


def _with(example: Example, image: Tensor | None) -> Example:
    return example if image is None else example.with_image(image)


def _parameter_of(model: nn.Module) -> Tensor:
    """A parameter that tells the type and device of the input; a float32 number if the model has none."""
    floating = (parameter for parameter in model.parameters() if parameter.is_floating_point())
    return next(floating, nn.Parameter(torch.zeros(()))).detach()


def _first_convolution(model: nn.Module) -> Any:
    kinds = nn.Conv1d | nn.Conv2d | nn.Conv3d
    return next((module for module in model.modules() if isinstance(module, kinds)), None)


def _is_unbatched_image(model: nn.Module, given: Tensor) -> bool:
    """Whether a tensor without a batch axis comes first to a model of images."""
    first = _first_convolution(model)
    return given.ndim in (0, 2, 3) and (isinstance(first, nn.Conv2d) or given.dtype == torch.uint8)


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value
