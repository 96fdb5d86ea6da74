"""The steering words of a running run: up to which number there are any, and up to which they were read."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future

from agents.errors import Stopped
from agents.events import Word


class WordInbox:
    """The steering words for one run, by their rising numbers. Their texts are handed over only when they are read.

    Change it on the event loop only. The run's thread reads `is_any` and `cut_because`.
    """

    def __init__(self, newest: int = 0) -> None:
        """``newest``: the highest number of the words that there are at the beginning."""
        self.cut_because = ""
        """Why what is being written or run is to end at once, for a word that is not read yet; empty if it isn't."""
        self._newest = newest
        self._read = 0
        self._cut_at = 0
        self._expecting: Future[Sequence[Word]] | None = None

    @property
    def is_any(self) -> bool:
        """Whether there are words, as far as is known, that the run has not read."""
        return self._newest > self._read

    def announce(self, number: int, reason: str) -> bool:
        """Note that there are words up to this number. Returns whether what is being written or run is to end for it: once for each number.

        Does nothing for words that were read already.
        """
        if number <= self._read:
            return False
        self._newest = max(self._newest, number)
        if not reason or number <= self._cut_at:
            return False
        self._cut_at, self.cut_because = number, reason
        return True

    def start_read(self, future: "Future[Sequence[Word]]") -> Callable[[Sequence[Word]], None]:
        """Begin to read words. Returns the function to call with them; it sets them as the result of ``future``."""
        self._expecting, newest = future, self._newest

        def hand_over(words: Sequence[Word]) -> None:
            self._read = max([newest, *(word.number for word in words)])
            if self._cut_at <= self._read:
                self.cut_because = ""
            if not future.done():
                future.set_result(words)

        return hand_over

    def stop(self) -> None:
        """End a pending read with `Stopped`."""
        if self._expecting is not None and not self._expecting.done():
            self._expecting.set_exception(Stopped())
