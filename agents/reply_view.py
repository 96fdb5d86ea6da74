"""Shows a model's reply while it is written, at the pace that all runs of the event loop share."""

from collections.abc import Callable, Sequence

from agents.events import RunEvent
from agents.models.reply import Reply
from agents.pace import Throttle
from agents.snapshots import StepSplitter


class ReplyView:
    """Turns one reply after the other into steps and partial steps as it grows, and passes them to ``push``. Use it on the event loop."""

    def __init__(self, splitter: StepSplitter, push: Callable[[Sequence[RunEvent]], None]) -> None:
        self._splitter = splitter
        self._push = push
        self._pacer = Throttle()
        self._reply = Reply()
        self._shown_parts = 0

    def begin(self) -> Reply:
        """Return a new reply, which is shown as it grows."""
        self._reply = Reply(self._grew, pause=self._pacer.pause, resume=self._pacer.resume)
        self._shown_parts = 0
        self._pacer.begin(self._show)
        return self._reply

    def end(self) -> None:
        """The reply has ended: stop showing it, and release it."""
        self._pacer.end()
        self._reply = Reply()

    def show_note(self, reply: Reply) -> None:
        """Push a note about how the reply was requested, before the reply's own steps."""
        if reply.note and reply.parts:
            self._push([self._splitter.note(reply.note)])
            reply.note = ""

    def _grew(self) -> None:
        """The reply has grown. A new part is shown at once, and so is the first token."""
        if len(self._reply.parts) > self._shown_parts:
            self._pacer.flush()
        else:
            self._pacer.request()

    def _show(self) -> None:
        self._shown_parts = len(self._reply.parts)
        self.show_note(self._reply)
        self._push(self._splitter.update(self._reply.parts))
