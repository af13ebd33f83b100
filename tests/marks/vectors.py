"""Writes what the TypeScript twins must answer, derived here cell by cell from the definitions, to build/vectors."""

import base64
import itertools
import json
import math
from pathlib import Path

import numpy as np
from latent_vectors import latent_vectors

from dlwidgets.marks.field_map import pack_terms

FOLDER = Path(__file__).parents[2] / "build" / "vectors"


def conv_matrix(num_units: int, size: int, kernel: int, stride: int, padding: int, dilation: int) -> np.ndarray:
    """Which positions each unit of a 1-D convolution sees."""
    matrix = np.zeros((num_units, size), dtype=bool)
    for unit, tap in itertools.product(range(num_units), range(kernel)):
        position = unit * stride - padding + tap * dilation
        if 0 <= position < size:
            matrix[unit, position] = True
    return matrix


def sees(terms, unit, pixel) -> bool:
    """The definition: some term has the pixel on every axis."""
    return any(
        all(matrix[0 if axis < 0 else unit[axis], pixel[i]] for i, (axis, matrix) in enumerate(term)) for term in terms
    )


def indices(shape):
    return list(itertools.product(*map(range, shape)))


def seen_from(terms, out_shape, in_shape, role, index) -> np.ndarray:
    """The mask over the other side's axes."""
    mask = np.zeros(in_shape if role == "unit" else out_shape, dtype=bool)
    for other in indices(mask.shape):
        mask[other] = sees(terms, index, other) if role == "unit" else sees(terms, other, index)
    return mask


def box_of(mask: np.ndarray):
    places = np.argwhere(mask)
    return (
        None if len(places) == 0 else [[int(a), int(b) + 1] for a, b in zip(places.min(0), places.max(0), strict=True)]
    )


def plane_of(mask: np.ndarray, at) -> np.ndarray:
    """The two axes that a picture shows."""
    while mask.ndim > 2:
        mask, at = mask[at[0]], at[1:]
    return mask.reshape((1, 1, *mask.shape)[-2:] if mask.ndim < 2 else mask.shape)


def cell_of(index) -> list[int]:
    return [0, 0, *index][-2:]


def field_cases(rng: np.random.Generator):
    """Strided and dilated convolutions, residual sums, global and empty terms, one to three axes, random bits."""
    a, b = conv_matrix(5, 13, 3, 2, 1, 2), conv_matrix(4, 11, 2, 3, 0, 3)
    c, d = conv_matrix(5, 13, 1, 2, 0, 1), conv_matrix(4, 11, 1, 3, 0, 1)
    everything = np.ones((1, 13), dtype=bool)
    yield [[(0, a), (1, b)]], (5, 4), (13, 11), [], []
    yield [[(0, a), (1, b)], [(0, c), (1, d)]], (5, 4), (13, 11), [], []
    yield [[(1, b.repeat(1, axis=0)), (0, a)]], (5, 4), (11, 13), [], []
    yield [[(-1, everything), (1, b)]], (5, 4), (13, 11), [], []
    yield [[(0, a)], [(-1, np.eye(1, 13, dtype=bool))]], (5,), (13,), [], []
    yield [[(-1, everything)]], (), (13,), [], []
    yield [], (5, 4), (13, 11), [], []
    yield [[(0, np.eye(3, dtype=bool)), (1, c), (2, d)]], (3, 5, 4), (3, 13, 11), [1], [1]
    yield [[(0, rng.random((3, 4)) < 0.5), (0, rng.random((3, 9)) < 0.5), (-1, rng.random((1, 6)) < 0.5)]], (3, 2), (4, 9, 6), [], [2]  # fmt: skip  # noqa: E501
    for num_terms in (2, 5, 8):
        yield [
            [(0, rng.random((3, 9)) < 0.4), (int(rng.integers(-1, 1)), rng.random((1, 17)) < 0.4)] if flip else
            [(1, rng.random((2, 9)) < 0.4), (0, rng.random((3, 17)) < 0.4)]
            for flip in rng.random(num_terms) < 0.5
        ], (3, 2), (9, 17), [], []  # fmt: skip


def fix(terms, out_shape):
    """Gives a random matrix the number of rows that its output axis asks for."""
    return [
        [(axis, np.resize(matrix, (1 if axis < 0 else out_shape[axis], matrix.shape[1]))) for axis, matrix in term]
        for term in terms
    ]


def field_vectors() -> list[dict]:
    rng = np.random.default_rng(0)
    vectors = []
    for terms, out_shape, in_shape, out_at, in_at in field_cases(rng):
        terms = fix(terms, out_shape)
        bits, index = pack_terms(terms, out_shape, in_shape)
        questions = [("unit", i) for i in indices(out_shape)] + [("input", i) for i in indices(in_shape)]
        shown = [q for q in questions if list(q[1][:-2]) == (out_at if q[0] == "unit" else in_at)]
        picked = [shown[i] for i in sorted(rng.permutation(len(shown))[:12])]
        answers = []
        for role, question in picked:
            mask = seen_from(terms, out_shape, in_shape, role, question)
            plane = plane_of(mask, in_at if role == "unit" else out_at)
            answers.append(
                {
                    "role": role,
                    "cell": cell_of(question),
                    "count": int(mask.sum()),
                    "fullBox": box_of(mask),
                    "box": box_of(plane),
                    "plane": plane.astype(int).tolist(),
                    "mask": mask.astype(int).ravel().tolist(),
                }
            )
        vectors.append(
            {
                "bits": base64.b64encode(bits.tobytes()).decode(),
                "index": index.ravel().tolist(),
                "outShape": list(out_shape),
                "inShape": list(in_shape),
                "outAt": out_at,
                "inAt": in_at,
                "boxes": [box_of(seen_from(terms, out_shape, in_shape, "unit", u)) for u in indices(out_shape)],
                "answers": answers,
            }
        )
    return vectors


def pixels_of(count: int, scale: float, offset: float, size: int) -> list[list[int]]:
    """The cells of each pixel: the wide cell that holds its middle, or all the narrow ones that start in it."""
    cells: list[list[int]] = [[] for _ in range(count)]
    if scale >= 1:
        for pixel in range(count):
            cell = math.floor((pixel + 0.5 - offset) / scale)
            if 0 <= cell < size:
                cells[pixel].append(cell)
    else:
        for cell in range(size):
            pixel = math.floor(scale * cell + offset)
            if 0 <= pixel < count:
                cells[pixel].append(cell)
    return cells


def coverage_vectors() -> list[dict]:
    """The share of each pixel's cells that a mask holds; powers of two, so that no rounding decides an edge."""
    rng = np.random.default_rng(1)
    vectors = []
    for scale, offset, size, share in itertools.product(
        (0.125, 0.375, 1, 2.5, 4), (0, 2.25, -3.5), (1, 24), (0.1, 0.5, 1)
    ):
        mask = rng.random((size, size)) < share
        rows, columns = pixels_of(16, scale, offset, size), pixels_of(12, scale, -offset, size)
        expected = []
        for row_cells, column_cells in itertools.product(rows, columns):
            some = int(mask[np.ix_(row_cells, column_cells)].sum())
            expected.append([some, len(row_cells) * len(column_cells)])
        vectors.append(
            {
                "scale": scale,
                "offset": offset,
                "mask": mask.astype(int).tolist(),
                "height": 16,
                "width": 12,
                "expected": expected,
            }
        )
    return vectors


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    made = {"field": field_vectors(), "coverage": coverage_vectors(), "latent": latent_vectors()}
    for name, vectors in made.items():
        (FOLDER / f"{name}.json").write_text(json.dumps(vectors), encoding="utf-8")


if __name__ == "__main__":
    main()
