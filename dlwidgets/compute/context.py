"""How a long computation says how far it is and hears that it should stop."""

from typing import Protocol


class Context(Protocol):
    """What a long function may be given as ``context``; None means: no reports, never stopped.

    Each executor brings its own implementation (an Event for threads, its own means on a cluster).
    """

    def report(self, fraction: float, text: str) -> None:
        """Tell how much is done: ``fraction`` in [0, 1], ``text`` a short phrase for a person."""

    def cancelled(self) -> bool:
        """Whether the work should stop as soon as possible."""


class Cancelled(Exception):
    """Raised inside a computation whose context says that it should stop."""


def tick(context: Context | None, fraction: float, text: str) -> None:
    """Report progress to ``context`` if there is one; raise `Cancelled` if it says to stop."""
    if context is None:
        return
    if context.cancelled():
        raise Cancelled(text)
    context.report(fraction, text)
