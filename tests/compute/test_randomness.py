"""What ran leaves the global random streams as they were, and what a cell draws meanwhile stays."""

import random
import threading
import time
from functools import partial

import numpy as np
import pytest
import torch

from dlwidgets.compute.randomness import without_draws

DRAWS = [
    lambda: torch.rand(3),
    lambda: torch.nn.functional.dropout(torch.ones(3), 0.5),
    lambda: (torch.manual_seed(5), torch.rand(2)),
    lambda: (torch.rand(2), torch.manual_seed(5), torch.rand(2)),
    lambda: random.shuffle([1, 2, 3]),
    lambda: np.random.rand(2),  # noqa: NPY002
    lambda: (torch.rand(2), np.random.rand(2), random.random()),  # noqa: NPY002
]


def states():
    return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002


def seed():
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002


def numbers():
    return torch.rand(1).item(), random.random(), np.random.rand()  # noqa: NPY002


@pytest.mark.parametrize("draw", DRAWS)
def test_what_is_drawn_is_taken_back(draw):
    before = states()
    without_draws(draw, draw)
    assert states() == before


def test_what_is_drawn_before_an_error_is_taken_back():
    def fail():
        numbers()
        raise ValueError("no")

    before = states()
    with pytest.raises(ValueError, match="no"):
        without_draws(fail, fail)
    assert states() == before


@pytest.mark.parametrize("draw", [lambda: None, *DRAWS])
def test_a_cell_that_seeded_meanwhile_is_not_taken_back_behind_its_seed(draw):
    """While something runs in a thread, a cell seeds and goes on drawing."""
    seed()
    seeded = states()
    cell_may_start, cell_drew, done = threading.Event(), threading.Event(), threading.Event()

    def job():
        draw()
        cell_may_start.set()
        cell_drew.wait(10)
        draw()

    def work():
        without_draws(job, draw)
        done.set()

    torch.rand(3), random.random(), np.random.rand()  # noqa: NPY002
    before = states()
    thread = threading.Thread(target=work)
    thread.start()
    cell_may_start.wait(10)
    seed()
    drawn = [numbers()]
    cell_drew.set()
    while not done.is_set():
        drawn.append(numbers())
        time.sleep(1e-4)
    thread.join()
    assert states() not in (before, seeded)
    assert len(set(drawn)) == len(drawn)


def test_a_cells_numbers_are_those_of_its_seed_beside_what_draws_nothing():
    stop = threading.Event()
    weights = torch.rand(64, 64)

    def work():
        run = partial(torch.mm, weights, weights)
        while not stop.is_set():
            without_draws(lambda: [run() for _ in range(20)], run)

    def cell():
        seed()
        drawn = []
        for _ in range(300):
            drawn.append(numbers())
            time.sleep(3e-4)
        return drawn

    alone = cell()
    thread = threading.Thread(target=work)
    thread.start()
    try:
        beside = cell()
    finally:
        stop.set()
        thread.join()
    assert beside == alone
