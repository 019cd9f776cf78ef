"""Reads that are asked for together, done in one trip a host: the engine sends those of a whole stack at once."""

from collections.abc import Callable
from concurrent.futures import Future
from threading import Event, Lock

from hosts.connection import Connect
from hosts.converge import Facts, gather_together
from hosts.state import Stage

WINDOW_S = 0.03
"""How long a read waits for one more; the engine takes its time between two of those large messages."""


class Reads:
    """The reads of one fleet. `connect` is called when the first has to be done, since that may take its time."""

    def __init__(self, connect: Callable[[], Connect]) -> None:
        self._connect = connect
        self._guard = Lock()
        self._asked: list[Stage] = []
        self._trip: Future[tuple[Facts, ...]] | None = None

    def facts(self, stage: Stage) -> Facts:
        """What the machines show of a stage, once no other has been asked for within the window."""
        with self._guard:
            mine = self._trip is None
            if self._trip is None:
                self._trip, self._asked = Future(), []
            trip, asked, place = self._trip, self._asked, len(self._asked)
            asked.append(stage)
        if mine:
            self._go(trip, asked)
        return trip.result()[place]

    def _go(self, trip: Future[tuple[Facts, ...]], asked: list[Stage]) -> None:
        try:
            connect = self._connect()  # first: others arrive while it takes its time
            known = 0
            while known < len(asked):
                known = len(asked)
                Event().wait(WINDOW_S)
            self._leave(trip)
            trip.set_result(gather_together(asked, connect))
        except BaseException as error:
            self._leave(trip)
            trip.set_exception(error)
            raise

    def _leave(self, trip: Future[tuple[Facts, ...]]) -> None:
        """Whoever asks from now on starts the next trip."""
        with self._guard:
            if self._trip is trip:
                self._trip = None
