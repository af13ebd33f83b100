"""Controls and traits that follow each other."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Assigning:
    """For an exhibit that sets its own controls and traits while it draws, and must not answer itself."""

    _assigns = False
    _closed: bool

    @contextmanager
    def _assigning(self) -> Iterator[None]:
        """Inside, changes are our own: nothing is asked for, drawn or checked because of them."""
        before, self._assigns = self._assigns, True
        try:
            yield
        finally:
            self._assigns = before

    def _unless_assigning(self, handler: Callable[[Any], None]) -> Callable[[Any], None]:
        """``handler`` for changes that are not our own."""

        def handle(change: Any) -> None:
            if not self._assigns and not self._closed:
                handler(change)

        return handle
