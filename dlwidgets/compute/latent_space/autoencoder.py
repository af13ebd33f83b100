"""What counts as an autoencoder, and the one way to call it: checked, in batches, without a trace."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from dlwidgets.compute.context import Context, tick
from dlwidgets.compute.device import in_chunks, ran_out_of_memory
from dlwidgets.compute.latent_space.behind import modules_behind
from dlwidgets.compute.latent_space.inputs import as_codes, as_images, shape
from dlwidgets.compute.latent_space.untouched import untouched
from dlwidgets.compute.randomness import without_draws

_MAX_ROWS = 1024  # samples per call of the user's functions,
_MAX_VALUES = 2**20  # fewer where the pictures are large,
_FIRST_ROWS = 16  # and so few until the size of a decoded picture is known

Coded = tuple[Tensor, Tensor | None]  # mean and log-variance; None for what is deterministic


@runtime_checkable
class Autoencoder(Protocol):
    """Anything with ``encode`` and ``decode``; a pair ``(encoder, decoder)`` of modules or functions serves as well.

    ``encode(images)`` takes images (batch, *shape) and returns codes (batch, latent) or, from a variational
    encoder, the tuple ``(mean, log_variance)`` of two such tensors. ``decode(codes)`` takes codes (batch, latent) and
    returns pictures, signals or vectors (batch, *output), or a tuple ``(mean, log_variance)`` of them.
    """

    def encode(self, images: Any, /) -> Any:
        """Codes of images."""

    def decode(self, codes: Any, /) -> Any:
        """Pictures of codes."""


@dataclass(frozen=True, eq=False)
class Coder:
    """A user's autoencoder made callable in one way; made by `bind`, accepted wherever an autoencoder is.

    Both calls run in eval mode and without gradients, in batches, on the device and in the floating-point type of the
    modules' own parameters (plain functions get what they can take, float32 or float64), and leave modules and random
    states as they were (see `without_draws`). They return detached CPU tensors.
    """

    encode_call: Callable[[Tensor], Any]
    decode_call: Callable[[Tensor], Any]
    encode_modules: tuple[nn.Module, ...]
    decode_modules: tuple[nn.Module, ...]
    latent_dim: int | None  # where the autoencoder says so itself

    def encode(self, images: Tensor, context: Context | None = None) -> Coded:
        """Mean and log-variance (None if deterministic) of the codes of images (sample, *shape)."""
        results: dict[int, Coded] = {}

        def run(start: int, count: int) -> None:
            tick(context, start / len(images), "encoding")
            batch = images[start : start + count]
            codes = _call(self.encode_call, "encode", batch, self.encode_modules)
            if codes[0].dim() != 2 or codes[0].shape[1] == 0:
                got = f"for images {shape(batch)}, got {shape(codes[0])}"
                raise ValueError(f"encode: expected codes (batch, latent) {got}")
            results[start] = codes

        def run_all() -> None:
            in_chunks(run, len(images), _rows(images[0].numel()))

        def run_one() -> None:
            _call(self.encode_call, "encode", images[:1], self.encode_modules)

        with untouched(*self.encode_modules):
            without_draws(run_all, run_one)
        return _assembled(results, torch.ones(len(images), dtype=torch.bool, device="cpu"), "encode")

    def decode(
        self, codes: Tensor, context: Context | None = None, on_error: Literal["raise", "nan"] = "raise"
    ) -> Coded:
        """Mean and log-variance (None if there is none) of the pictures of codes (code, latent).

        With ``on_error="nan"`` a code that is not finite, or for which ``decode`` raises, gives a picture of NaN; the
        error is raised all the same if no code at all can be decoded.
        """
        finite = torch.isfinite(codes).all(1)
        if on_error == "raise" and not bool(finite.all()):
            row = int((~finite).nonzero()[0])
            raise ValueError(f"codes: expected finite codes, got {codes[row].tolist()} at {row}")
        usable = codes[finite]
        results: dict[int, Coded] = {}
        failures: list[ValueError] = []

        def run(start: int, count: int) -> None:
            tick(context, start / len(usable), "decoding")
            try:
                results[start] = _call(self.decode_call, "decode", usable[start : start + count], self.decode_modules)
            except ValueError as error:
                if on_error == "raise":
                    raise
                failures.append(error)
                if count > 1:  # until the codes that fail stand alone
                    run(start, count // 2)
                    run(start + count // 2, count - count // 2)

        def run_all() -> None:
            num_first = min(_FIRST_ROWS, len(usable))
            in_chunks(run, num_first, num_first)
            picture = next((mean[0] for mean, _ in results.values()), None)
            rows = _FIRST_ROWS if picture is None else _rows(picture.numel())
            in_chunks(lambda start, count: run(num_first + start, count), len(usable) - num_first, rows)

        def run_one() -> None:
            _call(self.decode_call, "decode", usable[:1], self.decode_modules)

        with untouched(*self.decode_modules):
            without_draws(run_all, run_one)
        if not results:
            raise failures[0] if failures else ValueError("codes: none of them is finite")
        return _assembled(results, finite, "decode")


def bind(autoencoder: Any) -> Coder:
    """The autoencoder as a `Coder`. TypeError if it has no ``encode`` and ``decode`` and is no pair of callables.

    The modules whose mode has to be switched are found by themselves, also behind functions and in containers and
    objects (`modules_behind`); a module hidden deeper than that stays in the mode it is in.
    """
    if isinstance(autoencoder, Coder):
        return autoencoder
    if isinstance(autoencoder, type):
        raise TypeError(f"autoencoder: got the class {autoencoder.__name__}; give an instance of it")
    if isinstance(autoencoder, (tuple, list)):
        if len(autoencoder) != 2:
            raise TypeError(f"autoencoder: expected a pair (encoder, decoder), got {len(autoencoder)} things")
        encode, decode = autoencoder
    else:
        encode, decode = getattr(autoencoder, "encode", None), getattr(autoencoder, "decode", None)
    if not callable(encode) or not callable(decode) or isinstance(encode, type) or isinstance(decode, type):
        raise TypeError(
            "autoencoder: expected an object with the methods encode and decode, or a pair (encoder, decoder), "
            f"got {type(autoencoder).__name__}"
        )
    latent_dim = getattr(autoencoder, "latent_dim", None)
    return Coder(
        encode_call=encode,
        decode_call=decode,
        encode_modules=modules_behind(encode),
        decode_modules=modules_behind(decode),
        latent_dim=latent_dim if isinstance(latent_dim, int) else None,
    )


def decode(autoencoder: Any, codes: Any, *, context: Context | None = None) -> Float[Tensor, "code ..."]:
    """The pictures (code, *output) of codes (code, latent); of one code (latent,), still with the first axis.

    ValueError if a code is not finite, if ``decode`` raises (its own error chained), or if it returns something
    other than one picture per code.
    """
    return bind(autoencoder).decode(as_codes(codes, "codes"), context)[0]


def reconstruct(autoencoder: Any, images: Any, *, context: Context | None = None) -> Float[Tensor, "sample ..."]:
    """The decoded posterior means of the images, NaN where an image's code is not finite or cannot be decoded."""
    coder = bind(autoencoder)
    mean, _ = coder.encode(as_images(images, "images"), context)
    return coder.decode(mean, context, on_error="nan")[0]


def _call(function: Callable[[Tensor], Any], name: str, batch: Tensor, modules: tuple[nn.Module, ...]) -> Coded:
    """One call, its result checked: detached copies on the CPU, in float32 or float64."""
    own = next((p for m in modules for p in (*m.parameters(), *m.buffers()) if p.is_floating_point()), None)
    device = batch.device if own is None else own.device
    dtype = batch.dtype if own is None or not batch.is_floating_point() else own.dtype
    # Plain functions do not say in which type their numbers are: where the given one does not suit, the other may.
    others = [torch.float32 if dtype == torch.float64 else torch.float64] if own is None else []
    try:
        result = _in_a_fitting_type(function, batch.to(device), [dtype, *others])
    except Exception as error:
        if ran_out_of_memory(error):
            raise
        what = "images" if name == "encode" else "codes"
        raise ValueError(f"{name} raised {type(error).__name__} for {what} {shape(batch)}: {error}") from error
    parts = tuple(result) if isinstance(result, (tuple, list)) else (result,)
    if len(parts) not in (1, 2) or not all(isinstance(part, Tensor) for part in parts):
        got = ", ".join(type(part).__name__ for part in parts)
        raise ValueError(f"{name}: expected a tensor or a tuple (mean, log_variance), got ({got})")
    mean, *log_variance = (_own_copy(part) for part in parts)
    if mean.dim() == 0 or len(mean) != len(batch):
        raise ValueError(f"{name}: expected one result for each of the {len(batch)} inputs, got shape {shape(mean)}")
    if not log_variance:
        return mean, None
    if log_variance[0].shape != mean.shape:
        raise ValueError(f"{name}: mean {shape(mean)} and log-variance {shape(log_variance[0])} differ in shape")
    return mean, log_variance[0].to(mean.dtype)


def _in_a_fitting_type(function: Callable[[Tensor], Any], batch: Tensor, dtypes: list[torch.dtype]) -> Any:
    """The result for a copy of the batch (the user's function may write into it) in the first type that suits; the
    error of the first one if none does."""
    first, *others = dtypes
    try:
        return function(batch.to(first, copy=True))
    except (RuntimeError, TypeError) as error:
        if not others or "type" not in str(error):
            raise
        try:
            return _in_a_fitting_type(function, batch, others)
        except Exception:
            raise error from None


def _own_copy(part: Tensor) -> Tensor:
    dtype = part.dtype if part.dtype in (torch.float32, torch.float64) else torch.float32
    return part.detach().to("cpu", dtype, copy=True)


def _assembled(results: dict[int, Coded], where: Bool[Tensor, "sample"], name: str) -> Coded:
    """Results, keyed by their first row among the rows that ``where`` selects, in one tensor; NaN in the other rows."""
    first_mean, first_log_variance = next(iter(results.values()))
    for mean, log_variance in results.values():
        if mean.shape[1:] != first_mean.shape[1:] or (log_variance is None) != (first_log_variance is None):
            shapes = f"{shape(first_mean)[1:]}, then {shape(mean)[1:]}"
            raise ValueError(f"{name}: expected results of one kind and shape in every call, got {shapes}")
    places = where.nonzero()[:, 0]
    size = (len(where), *first_mean.shape[1:])
    means = torch.full(size, torch.nan, dtype=first_mean.dtype, device="cpu")
    log_variances = None if first_log_variance is None else means.clone()
    for start, (mean, log_variance) in results.items():
        rows = places[start : start + len(mean)]
        means[rows] = mean
        if log_variances is not None and log_variance is not None:
            log_variances[rows] = log_variance
    return means, log_variances


def _rows(num_values: int) -> int:
    return max(1, min(_MAX_ROWS, _MAX_VALUES // max(1, num_values)))
