"""Django's handler for HTTP, whose synchronous work runs on reused threads, each with its database connection."""

from concurrent.futures import Future, ThreadPoolExecutor
from io import BytesIO
from typing import Any

from asgiref.sync import ThreadSensitiveContext
from django.core.handlers.asgi import ASGIHandler
from django.core.signals import request_started
from django.db import close_old_connections, connections, reset_queries

from chat.api.event_stream import EventStreamResponse
from config.edge import EdgeMiddleware

#: How many idle threads are kept. More requests at once have more threads, which end with them.
_MOST_IDLE = 8
#: The ends of health checks' addresses.
PROBES = tuple(EdgeMiddleware.probes)


class PageThread(ThreadPoolExecutor):
    """One thread, and whether it is busy: one whose request was cancelled may still be."""

    def __init__(self) -> None:
        super().__init__(max_workers=1, thread_name_prefix="page")
        self._submitted = self._finished = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a function in the thread."""
        self._submitted += 1
        future = super().submit(fn, *args, **kwargs)
        future.add_done_callback(self._note_finished)
        return future

    @property
    def is_busy(self) -> bool:
        """Whether a submitted function has not ended yet."""
        return self._submitted != self._finished

    def retire(self) -> None:
        """End the thread once it has done its work, and close its connections."""
        self.submit(connections.close_all)
        self.shutdown(wait=False)

    def _note_finished(self, _: Future[Any]) -> None:
        self._finished += 1


class _Exchange:
    """One request's two directions.

    Of an event stream only the start is sent, and the stream itself writes the rest. Of an answer to HEAD only the headers are sent:
    daphne holds back only the first part of a body, and the client would read the rest as the next answer.
    """

    def __init__(self, receive: Any, send: Any, *, head_alone: bool) -> None:
        self._receive, self._send = receive, send
        self.head_alone = head_alone
        self.stream: EventStreamResponse | None = None
        self._is_gone = False

    async def receive(self) -> Any:
        """The next message from the client."""
        message = await self._receive()
        self._is_gone = message["type"] == "http.disconnect"
        return message

    async def __call__(self, message: Any) -> None:
        """Send a part of the answer."""
        if message["type"] == "http.response.start":
            await self._send(message)
        elif self.stream is None:
            await self._send({**message, "body": b""} if self.head_alone else message)

    async def stream_on(self) -> None:
        """Write the stream, if the answer is one and the client is still connected."""
        if self.stream is not None and not self._is_gone:
            await self.stream.serve(self._receive, self._send)


class PageHandler(ASGIHandler):
    """Serves each request in one thread, as Django does, without making a thread and a connection for it."""

    def __init__(self) -> None:
        super().__init__()
        self._idle: list[PageThread] = []
        # Each signal costs a change of threads. Connections are checked when a request has ended, and the log of queries is for DEBUG.
        request_started.disconnect(close_old_connections)
        request_started.disconnect(reset_queries)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request; health checks, which are frequent and need no thread, before anything else."""
        if scope["path"].endswith(PROBES) and await self._answer_probe(scope, send):
            return
        thread = self._idle.pop() if self._idle else PageThread()
        exchange = _Exchange(receive, send, head_alone=scope["method"] == "HEAD")
        try:
            async with ThreadSensitiveContext(executor=thread):
                await self.handle(scope, exchange.receive, exchange)
        finally:
            if thread.is_busy or len(self._idle) >= _MOST_IDLE:
                thread.retire()
            else:
                self._idle.append(thread)
        await exchange.stream_on()

    async def send_response(self, response: Any, send: Any) -> None:
        """Send an answer; a stream's content comes when the request's thread has been released."""
        if isinstance(response, EventStreamResponse) and not send.head_alone:
            send.stream = response
        await super().send_response(response, send)

    async def _answer_probe(self, scope: Any, send: Any) -> bool:
        """Answer, if the address is a health check's."""
        request, _ = self.create_request(scope, BytesIO())
        probe = EdgeMiddleware.probes.get(request.path_info) if request else None
        if request is None or probe is None:
            return False
        await self.send_response(await probe(request), send)
        return True
