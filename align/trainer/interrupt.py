"""A wish to stop, kept until the running step is done: Ctrl-C and SIGTERM end a run between two steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

__all__ = ["StopRequest", "stop_on_signals"]

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Whether somebody asked to stop."""

    def __init__(self) -> None:
        self.is_set = False

    def receive(self, number: int, frame: FrameType | None) -> None:
        """Signal handler: note the first request; a second one interrupts at once.

        Raises:
            KeyboardInterrupt: a request is already noted.
        """
        del number, frame
        if self.is_set:
            raise KeyboardInterrupt
        self.is_set = True


@contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """A context in which Ctrl-C and SIGTERM set the request; outside the main thread signals are left alone."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request.receive) for number in _SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
