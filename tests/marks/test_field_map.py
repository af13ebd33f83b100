"""Packing, the messages of a FieldMap, and its questions."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlwidgets.marks import FieldMap, Readout
from dlwidgets.marks.field_map import pack_terms


def unpack(bits: np.ndarray, start: int, rows: int, size: int) -> np.ndarray:
    """The definition of the wire format, bit by bit."""
    width = (size + 7) // 8
    found = np.zeros((rows, size), dtype=bool)
    for row in range(rows):
        for column in range(size):
            found[row, column] = bits[start + row * width + column // 8] >> (column % 8) & 1
    return found


@given(st.integers(0, 2**32 - 1), st.integers(0, 8), st.integers(1, 3), st.integers(0, 3))
def test_every_matrix_is_found_again(seed, num_terms, num_inputs, num_outputs):
    rng = np.random.default_rng(seed)
    in_shape, out_shape = rng.integers(1, 20, num_inputs).tolist(), rng.integers(1, 6, num_outputs).tolist()
    terms = []
    for _ in range(num_terms):
        axes = rng.integers(-1, num_outputs, num_inputs).tolist()
        rows = [1 if axis < 0 else out_shape[axis] for axis in axes]
        terms.append([(a, rng.random((r, n)) < 0.5) for a, r, n in zip(axes, rows, in_shape, strict=True)])
    bits, index = pack_terms(terms, out_shape, in_shape)
    assert index.shape == (num_terms, num_inputs, 2)
    for term, entries in zip(terms, index, strict=True):
        for (axis, matrix), (output_axis, start) in zip(term, entries, strict=True):
            assert output_axis == axis
            np.testing.assert_array_equal(unpack(bits, start, *matrix.shape), matrix)


def test_equal_matrices_are_sent_once():
    matrix = np.eye(8, dtype=bool)
    bits, index = pack_terms([[(0, matrix), (1, matrix)]] * 3, (8, 8), (8, 8))
    assert len(bits) == 8
    assert set(index[..., 1].ravel()) == {0}


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ([[(0, np.ones((1, 4)))]] * 9, "terms has 9 entries, at most 8"),
        ([[(0, np.ones((3, 4))), (0, np.ones((3, 4)))]], "term 0 has 2 input axes, expected 1"),
        ([[(1, np.ones((3, 4)))]], "no output axis 1"),
        ([[(0, np.ones((3, 5)))]], r"got a matrix \(3, 5\), expected \(3, 4\)"),
        ([[(-1, np.ones((3, 4)))]], r"got a matrix \(3, 4\), expected \(1, 4\)"),
    ],
)
def test_terms_that_do_not_fit_are_refused(terms, message):
    with pytest.raises(ValueError, match=message):
        FieldMap.pack(terms, (3,), (4,))


def test_a_new_layer_is_one_message():
    matrix = np.eye(4, dtype=bool)
    field_map = FieldMap.pack([[(0, matrix)]], (4,), (4,), label="a")
    messages = []
    field_map.comm.send = lambda data=None, **_: messages.append(data)
    field_map.show_products([[(0, matrix[:2])], [(-1, matrix[:1])]], (2,), (4,), label="b", windows=[[0, 1, 1, 0]])
    assert len(messages) == 1
    assert messages[0]["state"].keys() >= {"bits", "index", "out_shape", "label", "windows"}


def test_an_unknown_argument_is_named():
    with pytest.raises(TypeError, match="'lable'"):
        FieldMap(lable="x")
    with pytest.raises(TypeError, match="'lable'"):
        FieldMap.pack([], (2,), (2,), lable="x")
    with pytest.raises(TypeError, match="'txt'"):
        Readout(FieldMap(), txt="x")


def test_boxes_are_checked_before_they_are_sent():
    field_map = FieldMap()
    with pytest.raises(ValueError, match=r"boxes has shape \(2, 2\), expected \(2, 1, 2\)"):
        field_map.show_boxes(np.zeros((2, 2)), (2,), (5,))
    with pytest.raises(ValueError, match="at most 4000000"):
        field_map.show_boxes(np.zeros((2048, 2048, 1, 2), np.int8), (2048, 2048), (5,))


def ask(field_map, role, cell):
    sent = []
    field_map.send = lambda content, buffers=None: sent.append((content, buffers))
    question = {"type": "query", "role": role, "cell": cell, "generation": field_map.generation}
    field_map._handle_custom_msg(question, [])
    return sent


@pytest.mark.parametrize(
    ("out_shape", "out_at", "cell", "index"),
    [((4,), [], [0, 3], (3,)), ((3, 4), [], [2, 1], (2, 1)), ((2, 3, 4), [1], [2, 1], (1, 2, 1)), ((), [], [0, 0], ())],
)
def test_a_question_reaches_the_function_as_an_index(out_shape, out_at, cell, index):
    field_map = FieldMap()
    field_map.show_boxes(np.zeros((*out_shape, 2, 2)), out_shape, (3, 5), out_at=out_at)
    asked = []
    mask = np.random.default_rng(0).random((3, 5)) < 0.5
    field_map.on_query(lambda role, at: asked.append((role, at)) or mask)
    [(content, [buffer])] = ask(field_map, "unit", cell)
    assert asked == [("unit", index)]
    assert content == {"type": "field", "role": "unit", "cell": cell, "generation": 1}
    np.testing.assert_array_equal(unpack(np.frombuffer(buffer, np.uint8), 0, 1, 15).reshape(3, 5), mask)


def test_a_question_may_be_answered_later_or_not_at_all():
    field_map = FieldMap()
    field_map.show_boxes(np.zeros((2, 1, 2)), (2,), (3,))
    assert ask(field_map, "unit", [0, 1]) == []
    field_map.on_query(lambda role, at: None)
    assert ask(field_map, "unit", [0, 1]) == []
    field_map.on_query(lambda role, at: 1 / 0)
    sent = []
    field_map.send = lambda content, buffers=None: sent.append((content, buffers))
    with pytest.raises(ZeroDivisionError):
        field_map._hear(field_map, {"type": "query", "role": "unit", "cell": [0, 1], "generation": 1}, [])
    assert sent == [({"type": "field", "role": "unit", "cell": [0, 1], "generation": 1}, [])]


def test_questions_and_answers_about_an_older_table_are_told_apart():
    field_map = FieldMap()
    asked, sent = [], []
    field_map.on_query(lambda role, index: asked.append(index))
    field_map.send = lambda content, buffers=None: sent.append(content)
    field_map.show_boxes(np.zeros((2, 1, 2)), (2,), (3,))
    old = {"type": "query", "role": "unit", "cell": [0, 1], "generation": field_map.generation}
    field_map._hear(field_map, old, [])
    assert asked == [(1,)]
    field_map.show_boxes(np.ones((2, 1, 2)), (2,), (3,))  # another layer, while that question is being answered
    field_map.answer("unit", (1,), np.ones(3), generation=old["generation"])
    field_map._hear(field_map, old, [])  # and one that was on its way
    assert asked == [(1,)]
    assert sent[-1]["generation"] == 1 != field_map.generation
