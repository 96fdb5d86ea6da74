"""What is said to a run at work: how far it was told that there are words, and how far it has read them."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future

from agents.errors import Stopped
from agents.events import Word


class WordInbox:
    """The words for one run, by their numbers, which rise. What they say is handed over when it is read, and not before.

    Changed on the event loop alone; the agent's thread looks at `is_any` and `cut_because`.
    """

    def __init__(self, told: int = 0) -> None:
        """``told``: there are words up to this number from the beginning."""
        self.cut_because = ""
        """Why what is being done is to end at once for a word that is not read yet; empty where it is not."""
        self._told = told
        self._read = 0
        self._cut_at = 0
        self._expecting: Future[Sequence[Word]] | None = None

    @property
    def is_any(self) -> bool:
        """Whether there are words, as far as is known, that the run has not read."""
        return self._told > self._read

    def tell(self, number: int, reason: str) -> bool:
        """There are words up to this one; whether what is being done is to end for it, which is said once of each.

        What is told late, of words that were read meanwhile, changes nothing.
        """
        if number <= self._read:
            return False
        self._told = max(self._told, number)
        if not reason or number <= self._cut_at:
            return False
        self._cut_at, self.cut_because = number, reason
        return True

    def expect(self, future: "Future[Sequence[Word]]") -> Callable[[Sequence[Word]], None]:
        """Words are being read: what is returned takes them, and hands them over to who waits for ``future``."""
        self._expecting, told = future, self._told

        def take(words: Sequence[Word]) -> None:
            self._read = max([told, *(word.number for word in words)])
            if self._cut_at <= self._read:
                self.cut_because = ""
            if not future.done():
                future.set_result(words)

        return take

    def stop(self) -> None:
        """Nothing more is read: who waits for words is told so."""
        if self._expecting is not None and not self._expecting.done():
            self._expecting.set_exception(Stopped())
