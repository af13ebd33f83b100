"""Which device, and halving when memory runs out."""

import pytest
import torch

from dlwidgets.compute.device import choose_device, in_chunks, ran_out_of_memory


def test_named_device_is_taken() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize(
    ("cuda", "mps", "dtype", "expected"),
    [
        (False, False, torch.float32, "cpu"),
        (True, False, torch.float32, "cuda"),
        (True, True, torch.float64, "cuda"),
        (False, True, torch.float32, "mps"),
        (False, True, torch.float64, "cpu"),
    ],
)
def test_fastest_device_that_knows_the_dtype(monkeypatch, cuda, mps, dtype, expected) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_device(None, dtype).type == expected


def test_unusable_devices_are_refused() -> None:
    with pytest.raises(TypeError, match=r"device must be a torch.device or a name such as 'cpu' or 'cuda', got int"):
        choose_device(3)
    with pytest.raises(ValueError, match="device 'warp' cannot be used here"):
        choose_device("warp")
    with pytest.raises(ValueError, match="device 'cuda:77' cannot be used here"):
        choose_device("cuda:77")


def test_chunks_cover_everything_in_order() -> None:
    seen = []
    in_chunks(lambda start, count: seen.append((start, count)), 10, 4)
    assert seen == [(0, 4), (4, 4), (8, 2)]


def test_chunks_halve_when_memory_runs_out() -> None:
    done, asked = [], []

    def run(start: int, count: int) -> None:
        asked.append(count)
        if count > 3:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        done.extend(range(start, start + count))

    in_chunks(run, 11, 8)
    assert done == list(range(11))
    assert asked[:4] == [8, 4, 2, 2]


def test_one_item_that_does_not_fit_raises() -> None:
    def run(start: int, count: int) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    with pytest.raises(RuntimeError, match="can't allocate memory"):
        in_chunks(run, 8, 8)


def test_other_errors_are_not_retried() -> None:
    calls = []

    def run(start: int, count: int) -> None:
        calls.append(count)
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        in_chunks(run, 8, 8)
    assert calls == [8]


def test_what_counts_as_out_of_memory() -> None:
    assert ran_out_of_memory(MemoryError())
    assert ran_out_of_memory(RuntimeError("CUDA error: out of memory"))
    assert not ran_out_of_memory(ValueError("out of memory"))
    assert not ran_out_of_memory(RuntimeError("device-side assert"))
