"""to_plot: what reaches a mark is an own copy of a type that the browser reads, or a sentence that says why not."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dlwidgets.widgets.arrays import count_nonfinite, to_plot


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (torch.float64, np.float32),
        (torch.float32, np.float32),
        (torch.float16, np.float32),
        (torch.bfloat16, np.float32),
        (torch.bool, np.uint8),
        (torch.uint8, np.uint8),
        (torch.int8, np.int32),
        (torch.int16, np.int32),
        (torch.int64, np.int32),
    ],
)
def test_every_real_type_becomes_one_that_marks_can_send(given: torch.dtype, expected: type) -> None:
    array = to_plot(torch.tensor([[0, 1], [1, 0]]).to(given))
    assert array.dtype == expected
    assert array.tolist() == [[0, 1], [1, 0]]
    assert array.flags.c_contiguous


@pytest.mark.parametrize("kind", ["tensor", "numpy", "float64"])
def test_the_copy_shares_no_memory(kind: str) -> None:
    source = torch.zeros(3, dtype=torch.float64 if kind == "float64" else torch.float32)
    array = to_plot(source.numpy() if kind == "numpy" else source)
    source += 1
    assert array.tolist() == [0, 0, 0]


def test_gradients_views_and_layouts_do_not_matter() -> None:
    weight = torch.arange(6.0, requires_grad=True).reshape(2, 3)
    assert to_plot(weight.T).tolist() == [[0, 3], [1, 4], [2, 5]]
    assert to_plot(weight.T).flags.c_contiguous
    assert to_plot(weight.detach().to_sparse()).tolist() == weight.tolist()
    assert to_plot(torch.tensor([1 + 2j]).conj().imag).tolist() == [-2]
    assert to_plot(3.5).shape == ()
    assert to_plot(torch.zeros(0, 3)).shape == (0, 3)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=4))
def test_integers_arrive_exactly_or_are_refused(values: list[int]) -> None:
    fits = all(-(2**31) <= value < 2**31 for value in values)
    tensor = torch.tensor(values, dtype=torch.int64)
    if fits:
        assert to_plot(tensor).tolist() == values
    else:
        with pytest.raises(ValueError, match=r"counts holds -?\d+, which does not fit into int32"):
            to_plot(tensor, name="counts")


def test_nonfinite_values_stay_and_are_counted() -> None:
    array = to_plot(torch.tensor([1.0, float("nan"), float("inf"), -float("inf"), 1e300], dtype=torch.float64))
    assert np.isnan(array[1])
    assert count_nonfinite(array) == 4
    assert count_nonfinite(to_plot(torch.tensor([1, 2]))) == 0
    assert count_nonfinite(to_plot(torch.zeros(0))) == 0


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        (torch.zeros(2, dtype=torch.complex64), TypeError, "image must hold real numbers, got torch.complex64"),
        (np.zeros(2, dtype=complex), TypeError, "image must hold real numbers, got complex128"),
        (["a", "b"], TypeError, "image must hold real numbers"),
        (object(), TypeError, "image must hold real numbers, got object"),
        (None, TypeError, "image must hold real numbers"),
        ([[1], [2, 3]], ValueError, "image must be rectangular"),
        (torch.zeros(2, device="meta"), TypeError, "meta device"),
        (np.array([2**63], dtype=np.uint64), ValueError, "does not fit into int32"),
    ],
)
def test_what_is_no_array_of_real_numbers_is_refused(values: object, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        to_plot(values, name="image")


def test_the_shape_is_checked() -> None:
    assert to_plot(torch.zeros(4, 3), shape=(None, 3)).shape == (4, 3)
    with pytest.raises(ValueError, match=r"image has shape \(4, 3\), expected \(any, 4\)"):
        to_plot(torch.zeros(4, 3), name="image", shape=(None, 4))
    with pytest.raises(ValueError, match=r"image has shape \(4, 3\), expected \(4\)"):
        to_plot(torch.zeros(4, 3), name="image", shape=(4,))
