"""Which device computes, and what happens when its memory runs out."""

from collections.abc import Callable

import torch


def choose_device(device: torch.device | str | None = None, dtype: torch.dtype = torch.float32) -> torch.device:
    """``device`` itself, or without one the fastest at hand that can compute in ``dtype``: CUDA, MPS, else the CPU.

    Raises
    ------
    TypeError
        If ``device`` is neither a device nor the name of one.
    ValueError
        If there is no such device here.
    """
    if device is None:
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        if torch.backends.mps.is_available() and dtype not in (torch.float64, torch.complex128):
            return torch.device("mps")
        return torch.device("cpu")
    if not isinstance(device, (str, torch.device)):
        raise TypeError(f"device must be a torch.device or a name such as 'cpu' or 'cuda', got {type(device).__name__}")
    try:
        chosen = torch.device(device)
        torch.empty(0, device=chosen)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(f"device {str(device)!r} cannot be used here: {str(error).splitlines()[0]}") from error
    return chosen


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that a device, or this computer, has no memory left."""
    text = str(error).lower()
    told = "out of memory" in text or "can't allocate memory" in text
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and told)


def in_chunks(run: Callable[[int, int], None], total: int, chunk: int) -> None:
    """Call ``run(start, count)`` for pieces of at most ``chunk`` until ``total`` is done, in order.

    When memory runs out the chunk is halved and the same piece tried again, so ``run`` must leave nothing behind when
    it raises. A single item that does not fit raises what the device raised.
    """
    start = 0
    while start < total:
        count = min(chunk, total - start)
        try:
            run(start, count)
        except Exception as error:
            if count == 1 or not ran_out_of_memory(error):
                raise
        else:
            start += count
            continue
        # Outside the handler: the traceback that kept the failed piece's tensors alive is gone.
        chunk = count // 2
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
