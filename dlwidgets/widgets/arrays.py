"""The only road from a tensor to a mark."""

from typing import Any

import numpy as np

INT32 = np.iinfo(np.int32)


def to_plot(values: Any, *, name: str = "values", shape: tuple[int | None, ...] | None = None) -> np.ndarray:
    """Copy ``values`` into a numpy array of a type that marks can send: float32, int32 or uint8.

    Floating types become float32, bool becomes uint8 (0 and 1), uint8 stays uint8 (grey and colour images), the other
    integers become int32 after a range check. The result is always a fresh, contiguous copy: it shares no memory
    with a tensor that a training loop goes on changing.

    Args:
        values: a tensor (any device, with or without gradient), an array, a number or nested sequences of numbers.
        name: what the messages call it.
        shape: the expected shape; None in it stands for any length.

    Raises:
        TypeError: ``values`` holds no real numbers (strings, objects, complex numbers).
        ValueError: another shape than expected, ragged nested sequences, or integers that do not fit into int32.
    """
    array = _to_numpy(values, name)
    if shape is not None and not _fits(array.shape, shape):
        raise ValueError(f"{name} has shape {_words(array.shape)}, expected {_words(shape)}")
    kind = array.dtype.kind
    if kind == "f":
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes inf, and is counted as such
            return np.array(array, dtype=np.float32, order="C")
    if kind == "b" or array.dtype == np.uint8:
        return np.array(array, dtype=np.uint8, order="C")
    if kind in "iu":
        if array.size and not (INT32.min <= int(array.min()) and int(array.max()) <= INT32.max):
            worst = max(int(array.min()), int(array.max()), key=abs)
            raise ValueError(f"{name} holds {worst}, which does not fit into int32 (at most {INT32.max})")
        return np.array(array, dtype=np.int32, order="C")
    raise TypeError(f"{name} must hold real numbers, got {array.dtype}")


def count_nonfinite(array: np.ndarray) -> int:
    """How many entries are NaN or infinite; 0 for integers. Show it beside the picture instead of hiding them."""
    return int(array.size - np.isfinite(array).sum()) if array.dtype.kind == "f" else 0


def _to_numpy(values: Any, name: str) -> np.ndarray:
    if callable(getattr(values, "detach", None)):  # a tensor, known without importing torch
        values = values.detach()
        if values.is_sparse or "sparse" in str(values.layout):
            values = values.to_dense()
        if values.is_quantized:
            values = values.dequantize()
        if values.is_complex():
            raise TypeError(f"{name} must hold real numbers, got {values.dtype}")
        if values.is_meta:
            raise TypeError(f"{name} is a tensor on the meta device, which holds no numbers")
        if values.is_floating_point() and values.element_size() < 4:
            values = values.float()  # numpy knows no bfloat16, and JavaScript no float16
        values = values.cpu().resolve_neg().numpy()
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} must be rectangular: {error}") from error


def _fits(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    pairs = zip(shape, expected, strict=False)
    return len(shape) == len(expected) and all(want is None or have == want for have, want in pairs)


def _words(shape: tuple[int | None, ...]) -> str:
    return "(" + ", ".join("any" if length is None else str(length) for length in shape) + ")"
