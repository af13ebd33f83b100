"""Which steps are sampled."""

import functools
import time
from collections import deque
from collections.abc import Callable

import torch
from torch import nn

from .. import observe

#: Steps that are always sampled, so that a short run shows something.
ALWAYS = frozenset({0, 1, 3, 7, 15, 31, 63})
LAST = max(ALWAYS)
#: Length in seconds of the windows in which the budget holds.
WINDOW = 10.0


class Overhead(float):
    """The meter's own time as a share of the training time since it was attached; ``recent`` is the same of the last
    10 s.

    A share of .01 means that 10 ms of metering came with a second of training.
    """

    recent: float

    def __new__(cls, total: float, recent: float) -> "Overhead":
        """Both shares."""
        self = super().__new__(cls, total)
        self.recent = recent
        return self

    def __repr__(self) -> str:
        """Both shares in per cent."""
        return f"Overhead({float(self):.2%} since attached, {self.recent:.2%} in the last {WINDOW:.0f} s)"

    def __reduce__(self) -> tuple[object, ...]:
        """Both shares survive a pickle."""
        return Overhead, (float(self), self.recent)


class Rhythm:
    """Says which steps are due, and keeps account of the time that the meter takes.

    With ``every`` each k-th step is due. With ``budget`` the steps in `ALWAYS` are, and after them a step once the
    training time has earned it: over the whole time after the last of these and over any window of `WINDOW` seconds
    the meter takes at most ``budget`` of the training time. A sample dearer than the budget of a whole window is taken
    so rarely that the share holds over the longer time between two samples.
    """

    def __init__(self, budget: float, every: int | None, clock: Callable[[], float] = time.perf_counter) -> None:
        self.clock = clock
        self._budget, self._every = budget, every
        self._began = self._ended = clock()
        self._running = False
        self.spent = 0.0  # seconds that the meter has taken
        self._paid: deque[tuple[float, float]] = deque()  # when and how much, the last window
        self._owed: deque[tuple[float, float]] = deque()  # the same, of what the budget has to pay for
        self._recent = 0.0  # their sum
        self._booked = 0.0  # of what is spent, up to the beginning of the sample under way
        self._costs: deque[float] = deque([0.0], maxlen=4)  # of the last samples
        self._earning: tuple[float, float] | None = None  # time and spent when the budget began to count
        self.not_before = 0.0  # when the budget can have earned the next sample at the earliest, by `clock`

    def spend(self, seconds: float) -> None:
        """Note time that the meter has taken."""
        self.spent += seconds

    def fixed(self, step: int) -> bool:
        """Whether ``step`` is sampled whatever it costs."""
        return step % self._every == 0 if self._every is not None else step in ALWAYS

    def thrifty(self, step: int) -> bool:
        """Whether ``step`` and those after it are sampled as the budget allows."""
        return self._every is None and step > LAST

    def due(self, step: int) -> bool:
        """Whether ``step``, the next one, is to be sampled."""
        if not self.thrifty(step):
            return self.fixed(step)
        now = self.clock()
        if now < self.not_before:
            return False
        if self._earning is None:
            self._earning = now, self.spent
        began, spent = self._earning
        training = (now - began) - (self.spent - spent)
        cost = max(self._costs)
        missing = self.spent - spent + cost - self._budget * training
        if missing > 0:
            self.not_before = now + missing / self._budget
            return False
        while self._owed and self._owed[0][0] <= now - WINDOW:
            self._recent -= self._owed.popleft()[1]
        recent = self._recent if self._owed else 0.0
        full = self._budget * (WINDOW - recent - cost)
        return recent + cost <= full or (not self._owed and cost > full)

    def begin_sample(self) -> None:
        """The sample under way begins to cost; what the trigger took since the last one is booked by itself."""
        self._book(self.clock())

    def end_sample(self) -> None:
        """A sample is complete: what it took is what the next is expected to take."""
        self._costs.append(self.spent - self._booked)
        self._book(self.clock())

    def _book(self, now: float) -> None:
        seconds = self.spent - self._booked
        self._paid.append((now, seconds))
        if self._earning is not None:
            self._owed.append((now, seconds))
            self._recent += seconds
        self._booked = self.spent
        while self._paid[0][0] < now - WINDOW:
            self._paid.popleft()

    def start(self) -> None:
        """The time of training begins here."""
        self._began, self._running = self.clock(), True

    def stop(self) -> None:
        """The time of training ends here."""
        if self._running:
            self._ended, self._running = self.clock(), False

    def overhead(self) -> Overhead:
        """The meter's share so far."""
        now = self.clock() if self._running else self._ended
        elapsed = now - self._began
        paid = sum(seconds for when, seconds in list(self._paid) if when > now - WINDOW)
        recent = min(paid + self.spent - self._booked, self.spent)
        window = min(WINDOW, elapsed)
        return Overhead(_share(self.spent, elapsed), _share(recent, window))


def _share(spent: float, elapsed: float) -> float:
    return spent / (elapsed - spent) if elapsed > spent else 0.0


@functools.cache
def dispatch_cost() -> tuple[float, float]:
    """Seconds that torch itself takes per module call, and per node of the graph, when hooks that do nothing are there.

    A meter that only timed its own functions would not count these. Measured once, in less than a millisecond.
    """
    module, x = nn.Identity(), torch.ones(1, requires_grad=True)

    def call() -> None:
        module(x)

    def backward() -> None:
        torch.autograd.grad(x * 2, x)

    def hooked() -> None:
        y = x * 2
        observe.on_gradient(observe.graph_node(y), lambda _: None)
        torch.autograd.grad(y, x)

    with torch.enable_grad():
        bare = _fastest(call)
        with observe.forwards(before=lambda _m, _a: None, after=lambda _m, _a, _o: None):
            with_hooks = _fastest(call)
        return max(with_hooks - bare, 0.0), max(_fastest(hooked) - _fastest(backward), 0.0)


def _fastest(run: Callable[[], None], times: int = 15) -> float:
    best = float("inf")
    for _ in range(times):
        began = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - began)
    return best
