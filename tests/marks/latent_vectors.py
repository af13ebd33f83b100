"""What the browser's interpolation in a grid of pictures must answer: a sum over all nodes of hat functions."""

import numpy as np


def hat(position: float, count: int) -> np.ndarray:
    """The weight of each node of an axis for a position measured in nodes: linear, 1 at the node, 0 at the next."""
    return np.maximum(0, 1 - np.abs(np.arange(count) - np.clip(position, 0, count - 1)))


def latent_vectors() -> list[dict]:
    rng = np.random.default_rng(3)
    vectors = []
    for rows, columns, size in ((5, 7, 6), (2, 2, 1), (1, 9, 4), (6, 1, 2), (1, 1, 3)):
        pictures = rng.integers(0, 256, (rows, columns, size), dtype=np.uint8)
        left, bottom = rng.normal(size=2)
        right, top = left + rng.uniform(0.5, 4), bottom + rng.uniform(0.5, 4)
        for holes in (False, True):
            valid = (rng.random((rows, columns)) < 0.8) if holes else None
            for _ in range(20):
                x = rng.uniform(left - 0.5, right + 0.5)
                y = rng.uniform(bottom - 0.5, top + 0.5)
                across = hat((x - left) / (right - left) * (columns - 1), columns)
                down = hat((top - y) / (top - bottom) * (rows - 1), rows)  # the first row is the highest
                weights = down[:, None] * across
                missing = valid is not None and bool((weights[~valid] > 0).any())
                mixed = None if missing else np.einsum("rc,rcs->s", weights, pictures.astype(float)).tolist()
                vectors.append(
                    {
                        "bytes": pictures.ravel().tolist(),
                        "rows": rows,
                        "columns": columns,
                        "size": size,
                        "box": [left, right, bottom, top],
                        "valid": None if valid is None else valid.astype(int).ravel().tolist(),
                        "at": [x, y],
                        "inside": bool(left <= x <= right and bottom <= y <= top),
                        "picture": mixed,
                    }
                )
    return vectors
