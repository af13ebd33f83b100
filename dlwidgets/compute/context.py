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


def require(context: Context | None) -> None:
    """TypeError for what is neither a context nor None."""
    if context is not None and not (hasattr(context, "cancelled") and hasattr(context, "report")):
        raise TypeError(f"context: expected None or an object with report and cancelled, got {context!r:.80}")


def tick(context: Context | None, fraction: float, text: str) -> None:
    """Report progress to ``context`` if there is one; raise `Cancelled` if it says to stop.

    TypeError for what is no context.
    """
    require(context)
    if context is None:
        return
    if context.cancelled():
        raise Cancelled(text)
    context.report(fraction, text)
