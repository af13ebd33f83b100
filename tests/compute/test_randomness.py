"""What ran leaves the global random streams as they were, and what a cell draws meanwhile stays."""

import random
import threading
import time
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from dlwidgets.compute.dropout import find_dropout, monte_carlo
from dlwidgets.compute.latent_space import decode
from dlwidgets.compute.observe import undisturbed
from dlwidgets.compute.randomness import OwnDraws, without_draws
from dlwidgets.compute.receptive_field import effective_receptive_field
from dlwidgets.compute.receptive_field.activations import activations

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


DROPPING = nn.Sequential(nn.Conv1d(1, 2, 3), nn.Dropout(0.5), nn.RReLU(), nn.Conv1d(2, 3, 6))
SIGNALS = torch.linspace(-1, 1, 16).reshape(2, 1, 8)


@pytest.mark.parametrize(
    "work",
    [
        lambda: monte_carlo(DROPPING, SIGNALS, 20),
        lambda: find_dropout(DROPPING, SIGNALS),
        lambda: effective_receptive_field(DROPPING, SIGNALS, (0,)),
        lambda: activations(DROPPING, (SIGNALS,), lambda num_dims: tuple(range(2, num_dims))),
        lambda: decode((nn.Identity(), lambda z: z + torch.rand(1)), SIGNALS[:, 0]),
    ],
    ids=["monte_carlo", "find_dropout", "effective_receptive_field", "activations", "decode"],
)
def test_a_cells_numbers_are_those_of_its_seed_beside_an_exhibit(work):
    rounds, problems, stop = [], [], threading.Event()

    def go_on():
        try:
            while not stop.is_set():
                rounds.append(work())
        except Exception as problem:
            problems.append(problem)

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        while not rounds and not problems:
            time.sleep(1e-3)
        seed()
        beside = []
        while len(rounds) < 4 and not problems:
            beside.append(numbers())
            time.sleep(3e-4)
    finally:
        stop.set()
        thread.join()
    assert not problems
    seed()
    assert beside == [numbers() for _ in beside]


class Hostile(nn.Module):
    """Runs ``draw`` in its forward."""

    def __init__(self, draw):
        super().__init__()
        self.draw, self.drop = draw, nn.Dropout(0.5)

    def forward(self, x):
        self.draw()
        return self.drop(x) + torch.rand(1) + random.random() + np.random.rand()  # noqa: NPY002


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("in_background", [False, True])
def test_states_are_as_before_whatever_a_model_draws(draw, in_background):
    model, x = Hostile(draw), torch.ones(2, 1, 3)
    results = []

    def work():
        find_dropout(model, x)
        results.append(effective_receptive_field(model.train(), x, (0,)).contribution)
        results.append(monte_carlo(model, x, 3, output="values", seed=4).std)

    for _ in range(2):
        seed()
        before = states()
        thread = threading.Thread(target=work)
        if in_background:
            thread.start()
            thread.join()
        else:
            work()
        assert states() == before
    assert torch.equal(results[0], results[2])
    assert torch.equal(results[1], results[3])


OPERATORS = [
    lambda x: torch.rand(3),
    lambda x: torch.randn(3, dtype=torch.float64),
    lambda x: torch.randint(9, (3,)),
    lambda x: torch.randint(2, 9, (3,)),
    lambda x: torch.randperm(9),
    lambda x: torch.rand(3, out=torch.empty(3)),
    lambda x: torch.rand_like(x),
    lambda x: torch.randn_like(x),
    lambda x: torch.randint_like(x, 2, 9),
    lambda x: torch.normal(x, 1.0),
    lambda x: torch.bernoulli(x),
    lambda x: x.clone().uniform_(),
    lambda x: torch.multinomial(x, 2),
    lambda x: torch.poisson(x),
    lambda x: torch.native_dropout(x, 0.5, True),
    lambda x: nn.functional.dropout(x, 0.5),
    lambda x: nn.functional.alpha_dropout(x, 0.5),
    lambda x: nn.functional.rrelu(-x, training=True),
    lambda x: nn.functional.scaled_dot_product_attention(x, x, x, dropout_p=0.5),
    lambda x: nn.functional.scaled_dot_product_attention(x[None, None], x[None, None], x[None, None]),
    lambda x: torch.distributions.Gamma(x + 1, x + 1).sample(),
    lambda x: torch.distributions.Dirichlet(x + 1).sample(),
    lambda x: torch.rand(3, device="meta").shape,
    lambda x: torch.rand(3, generator=torch.Generator().manual_seed(1)),
    lambda x: torch.func.vmap(lambda row: nn.functional.dropout(row, 0.5), randomness="different")(x),
]


@pytest.mark.parametrize("operator", OPERATORS)
def test_own_draws_are_bitwise_the_global_ones_and_leave_those_alone(operator):
    x = torch.full((8, 8), 0.5)
    torch.manual_seed(3)
    expected = operator(x), operator(x)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with OwnDraws(lambda: None):
        drawn = operator(x), operator(x)
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(drawn, expected, rtol=0, atol=0)
    with OwnDraws(lambda: None) as draws:
        operator(x)
        draws.seed(3)
        again = operator(x), operator(x)
    torch.testing.assert_close(again, expected, rtol=0, atol=0)


def test_what_saves_the_random_state_for_its_backward_pass_gets_its_own_numbers_back():
    class Checkpointed(nn.Module):
        def forward(self, x):
            return checkpoint(lambda t: nn.functional.dropout(t, 0.5) * t, x, use_reentrant=False)

    x = torch.ones(1, 1, 16)
    torch.manual_seed(0)
    mask = nn.functional.dropout(x, 0.5)[0, 0] > 0
    for unit in range(16):
        torch.manual_seed(0)
        found = effective_receptive_field(Checkpointed(), x, (unit,)).contribution
        assert bool(found.any()) == bool(mask[unit])


def test_an_error_of_again_is_none_and_that_of_the_code_goes_on():
    def fail():
        random.random()
        raise ValueError("no")

    before = states()
    with pytest.raises(ValueError, match="no"), undisturbed(nn.ReLU(), fail):
        fail()
    assert states() == before


def test_noise_that_a_decoder_seeds_stays_the_same():
    def with_noise(z):
        torch.manual_seed(5)
        return z + torch.rand(8)

    z = SIGNALS[:, 0]
    torch.manual_seed(5)
    expected = z + torch.rand(8)
    torch.manual_seed(1)
    before = states()
    for _ in range(2):
        assert torch.equal(decode((nn.Identity(), with_noise), z), expected)
    assert states() == before


def test_a_call_is_kept_once_also_where_the_model_seeds():
    model = Hostile(lambda: torch.manual_seed(5)).train()
    kept = activations(model, (torch.ones(1, 1, 3),), lambda num_dims: tuple(range(2, num_dims)))
    assert set(kept) == {("drop", 0), ("", 0), None}
