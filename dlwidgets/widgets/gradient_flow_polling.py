"""The thread that redraws a meter while somebody else's loop keeps the kernel busy."""

import threading
import time
from collections.abc import Callable

SHORTEST_PAUSE = 0.1
"""Seconds between two redraws at least, however fast the training runs."""

LONGEST_PAUSE = 5.0
"""Seconds between two redraws at most, however dear they are."""

EARLY = 8
"""So many redraws come as fast as they can, so that a short training is seen to move."""


class Polling:
    """Calls ``redraw`` again and again in a thread of its own, at most ten times a second, until it answers False.

    After the first few, a redraw that takes t seconds of the processor is followed by a pause of t / ``budget``, so
    that drawing takes no larger share than the meter may.

    Args:
        redraw: called in the thread; answers whether to go on. It must not raise.
        budget: the share of the time that drawing may take.

    Attributes:
        spent: seconds of processor time that the redraws have taken.
    """

    def __init__(self, redraw: Callable[[], bool], budget: float) -> None:
        self.spent = 0.0
        self._redraw, self._budget = redraw, budget
        self._stopped = threading.Event()
        self._began, self._ended = time.monotonic(), 0.0
        self._thread = threading.Thread(target=self._run, name="dlwidgets-meter", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread still runs."""
        return self._thread.is_alive()

    @property
    def stopped(self) -> bool:
        """Whether it was told to end."""
        return self._stopped.is_set()

    @property
    def share(self) -> float:
        """The share of the time since the start that the redraws have taken."""
        elapsed = (self._ended or time.monotonic()) - self._began
        return self.spent / max(elapsed, SHORTEST_PAUSE)

    def stop(self) -> None:
        """Tell the thread to end, without waiting for it."""
        self._stopped.set()
        self._ended = self._ended or time.monotonic()

    def join(self) -> None:
        """Wait until the thread has ended; not while holding a lock that redrawing needs."""
        self._thread.join()

    def _run(self) -> None:
        pause, count = SHORTEST_PAUSE, 0
        while not self._stopped.wait(pause):
            before = time.thread_time()
            if not self._redraw():
                return
            cost = time.thread_time() - before
            self.spent += cost
            count += 1
            if count > EARLY:
                pause = min(max(cost / self._budget, SHORTEST_PAUSE), LONGEST_PAUSE)
