"""What the functions of this package accept, checked once and in the same words everywhere."""

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

_ROUNDING = 1e-5  # resizing leaves values such as 1.0000001


def as_tensor(value: Any, name: str) -> Tensor:
    """A detached tensor of real numbers from a tensor or a numpy array; TypeError names ``name`` for anything else."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "fiub":
            raise TypeError(f"{name}: expected an array of numbers, got one of dtype {value.dtype}")
        # A copy: torch cannot wrap read-only arrays, foreign byte orders or negative strides.
        value = torch.from_numpy(np.array(value, dtype=value.dtype.newbyteorder("=")))
    if not isinstance(value, Tensor):
        raise TypeError(f"{name}: expected a tensor or a numpy array, got {type(value).__name__}")
    if value.is_meta or value.layout != torch.strided:
        raise ValueError(f"{name}: expected a dense tensor with values, got a {value.device} tensor, {value.layout}")
    if value.is_complex():
        raise ValueError(f"{name}: expected real numbers, got dtype {value.dtype}")
    return value.detach()


def as_images(value: Any, name: str) -> Tensor:
    """Images (sample, *shape): at least one of them, each with at least one axis and one value."""
    images = as_tensor(value, name)
    if images.dim() < 2 or images.numel() == 0:
        raise ValueError(f"{name}: expected the shape (sample, *shape) with at least one value, got {shape(images)}")
    return images


def as_unit_images(value: Any, name: str) -> Float[Tensor, "sample ..."]:
    """Images of grey values in [0, 1] as float32 on the CPU."""
    images = as_images(value, name)
    if not images.is_floating_point():
        raise ValueError(f"{name}: expected floats in [0, 1], got {images.dtype}; for bytes divide by 255")
    if not bool(torch.isfinite(images).all()):
        raise ValueError(f"{name}: expected finite values in [0, 1], got {_num_non_finite(images)} that are NaN or inf")
    low, high = float(images.min()), float(images.max())
    if low < -_ROUNDING or high > 1 + _ROUNDING:
        raise ValueError(
            f"{name}: expected values in [0, 1], got values from {low:g} to {high:g}; {_how_to_fit(low, high)}"
        )
    return images.to("cpu", torch.float32).clamp(0, 1)


def _how_to_fit(low: float, high: float) -> str:
    """What brings values from ``low`` to ``high`` into [0, 1]; those of bytes are seldom all there."""
    if low >= 0:
        return f"divide by {255 if 128 <= high <= 255 else high:g}"
    if high <= low:
        return f"add {-low:g}"
    return f"add {-low:g} and divide by {high - low:g}"


def as_codes(value: Any, name: str) -> Float[Tensor, "code latent"]:
    """Latent codes (code, latent); one code may come as a vector, and a list of numbers is understood too."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        try:
            value = np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise TypeError(f"{name}: expected numbers, got {value!r:.80}") from error
    codes = as_tensor(value, name)
    if codes.dim() == 1:
        codes = codes[None]
    if codes.dim() != 2 or codes.numel() == 0:
        raise ValueError(f"{name}: expected the shape (code, latent) or (latent,), got {shape(codes)}")
    return codes.cpu() if codes.is_floating_point() else codes.to("cpu", torch.float64)


def as_box(value: Any, name: str = "box") -> tuple[tuple[float, float], ...]:
    """A box as one (low, high) pair per latent dimension, low < high, finite."""
    try:
        box = tuple((float(low), float(high)) for low, high in value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: expected one (low, high) pair per latent dimension, got {value!r:.80}") from error
    if not box or not all(math.isfinite(low) and math.isfinite(high) and low < high for low, high in box):
        raise ValueError(f"{name}: expected finite low < high in every dimension, got {box!r:.80}")
    return box


def as_count(value: Any, name: str, minimum: int = 1) -> int:
    """An integer of at least ``minimum``."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name}: expected an integer, got {value!r:.80}")
    count = operator.index(value)
    if count < minimum:
        raise ValueError(f"{name}: expected an integer >= {minimum}, got {count}")
    return count


def as_number(value: Any, name: str, *, positive: bool = False) -> float:
    """A finite number, not negative, or positive where asked; a tensor or an array of no axes is one too."""
    if isinstance(value, (Tensor, np.ndarray)) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool) or not hasattr(value, "__float__") or isinstance(value, (Tensor, np.ndarray)):
        raise TypeError(f"{name}: expected a number, got {value!r:.80}")
    number = float(value)
    if not math.isfinite(number) or number < 0 or (positive and number == 0):
        raise ValueError(f"{name}: expected a finite number {'>' if positive else '>='} 0, got {number:g}")
    return number


def as_labels(labels: Any, num_samples: int) -> tuple[tuple[Any, ...], Int[Tensor, "sample"]]:
    """The distinct labels, sorted, and for every sample the index of its own among them.

    Labels are integers, booleans or strings, in a tensor, a list or anything that numpy makes an array of, such as a
    column of a table; floats are refused because equality of floats makes no classes.
    """
    try:
        values = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    except ValueError as error:
        raise TypeError("labels: expected integers or strings, got a ragged list") from error
    if values.dtype.kind in "OT":  # objects; numpy's strings of variable length
        values = _of_one_kind(values)
    if values.dtype.kind not in "iubU":
        raise TypeError(f"labels: expected integers or strings, got {values.dtype}")
    if values.shape != (num_samples,):
        raise ValueError(f"labels: expected one label for each of the {num_samples} images, got shape {values.shape}")
    classes, index = np.unique(values, return_inverse=True)
    return tuple(classes.tolist()), torch.from_numpy(index.astype(np.int64))


def _of_one_kind(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """An array of objects as one of strings, integers or booleans, if all of them are that."""
    items = values.ravel().tolist()
    for kind in (str, (bool, np.bool_), (int, np.integer)):
        if all(isinstance(item, kind) for item in items):
            return np.array(items).reshape(values.shape)
    names = ", ".join(sorted({type(item).__name__ for item in items}))
    raise TypeError(f"labels: expected integers or strings, got objects of the types {names}")


def generator(seed: Any, stream: int = 0) -> torch.Generator:
    """A random source of its own, so that the global one is left alone; ``stream`` < 8 tells uses of a seed apart."""
    return torch.Generator(device="cpu").manual_seed((as_count(seed, "seed", -(2**62)) * 8 + stream) % 2**63)


def finite_rows(codes: Float[Tensor, "code latent"], name: str) -> Float[Tensor, "finite latent"]:
    """The rows without NaN or inf; ValueError if there is none."""
    finite = codes[torch.isfinite(codes).all(1)]
    if len(finite) == 0:
        raise ValueError(f"{name}: none of the {len(codes)} codes is finite")
    return finite


def shape(tensor: Tensor) -> tuple[int, ...]:
    """The shape as a plain tuple, for messages."""
    return tuple(tensor.shape)


def _num_non_finite(tensor: Tensor) -> int:
    return int((~torch.isfinite(tensor)).sum())
