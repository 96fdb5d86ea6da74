"""A scripted OpenAI-compatible model server: the model's side of every test and benchmark.

In a test (its own thread and loop, port chosen by the system)::

    with ModelServer() as server:
        server.enqueue(Script(reasoning="Hm.", calls=[Call("python", {"code": "6*7"})]), Script("It is 42."))
        …                                   # point the app at server.url (ends in /v1)
        server.requests[0].body["messages"]
        server.wait_for(lambda: server.requests[0].closed_at is not None)

What is enqueued answers the next requests, in order; then `ModelServer.respond` does, a function of the request's body
that is free to be replaced. It is `by_words` to begin with: the last user message says in square brackets what is wanted::

    Tell me about tides [tokens=50 every=100 reasoning=10 stamp]
    Add it up [call=python:{"code": "6*7"} call=current_time:{}]     calls first, then an answer that cites the results
    Go on and on [always call=current_time:{}]                       calls whatever the results
    Break [tokens=20 after=5 fault=reset]      [status=429]      [fault=hang]

Every request is judged by `tests.strict_judge`: one that a strict server would refuse is written down in `FAULTS`, and the test that
made it fails by it (`tests.conftest`). With `ModelServer.refuses_like` set, it is answered by 400 instead, as those servers do.

As a process of its own: ``python -m tests.model_server --port 0`` prints its address as the first line;
``GET /journal`` there tells the requests as JSON.
"""

import argparse
import asyncio
import json
import re
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

from aiohttp import web

from tests.strict_judge import find_faults

#: What was wrong with requests to servers of this process; whoever reads it empties it.
FAULTS: list[str] = []

Fault = Literal[
    "hang",  # accepts the request, never answers
    "stall",  # stops sending in mid-stream, connection open
    "reset",  # TCP reset in mid-stream
    "cut",  # connection closed in mid-stream, the chunked body unfinished
    "clean_cut",  # the body ends properly, without finish reason or [DONE]
    "done_only",  # [DONE], but no finish reason
    "bad_json",  # an event whose data isn't JSON
    "bad_sse",  # a 200 whose body is a web page
    "error_event",  # an event {"error": …}
    "huge",  # never stops sending text
    "pings",  # stops sending, except for comments that keep the connection open
    "long_event",  # one event that never ends
    "drop",  # closes the connection before answering
]


@dataclass(frozen=True)
class Call:
    """A tool call the model makes. A text as ``arguments`` is sent as it is, so it may be no JSON at all."""

    name: str
    arguments: dict[str, Any] | str = field(default_factory=dict)
    id: str | None = ""
    """Empty: ``call_1``, ``call_2`` … by place; ``None``: no id is sent."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Fields of the call beside the known ones."""

    @property
    def text(self) -> str:
        """The arguments as sent."""
        return self.arguments if isinstance(self.arguments, str) else json.dumps(self.arguments, ensure_ascii=False)


@dataclass(frozen=True)
class Script:
    """One answer of the model: its text, in which dialect and pace, and what goes wrong."""

    content: str = ""
    reasoning: str = ""
    calls: Sequence[Call] = ()
    after_calls: str = ""
    """Text after the calls."""
    dialect: Literal["native", "template"] = "native"
    """How calls are written: ``tool_calls``, or ``<tool_call>`` in the content."""
    thinking: Literal["reasoning_content", "reasoning", "tags", "closing_tag"] = "reasoning_content"
    """How reasoning is written; ``closing_tag``: only ``</think>``, as where the template opened it."""
    every_s: float = 0.0
    """Pause before each token."""
    first_s: float = 0.0
    """Pause before the response begins."""
    piece: int = 4
    """Characters a token has."""
    stamp: bool = False
    """Each token of the content is the time of its sending (``time.time()``) and a space; ``content`` says how many."""
    finish: str | None = ""
    """The finish reason; empty: ``stop`` or ``tool_calls`` as fits; ``None``: none."""
    usage: dict[str, int] | Literal[True] | None = True
    """``True``: counted in tokens sent; ``None``: none."""
    empty_choices: bool = True
    """Usage comes in a chunk with ``choices: []``; else beside the finish reason."""
    fault: Fault | None = None
    fault_after: int = 2
    """Tokens sent before the fault."""
    bytes_per_write: int = 0
    """Cut the stream into writes of so many bytes (1 splits every character); 0: an event a write."""
    escape: bool = False
    """Write non-ASCII characters as JSON escapes, surrogate pairs split over two events."""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None
    """Sent as it is, instead of a stream; with ``status`` other than 200 a plausible error is made up."""

    def deltas(self) -> list[dict[str, Any]]:
        """The chunks' ``delta`` objects, one a token."""
        content, reasoning = self.content, self.reasoning
        if reasoning and self.thinking == "tags":
            content, reasoning = f"<think>\n{reasoning}\n</think>\n\n{content}", ""
        elif reasoning and self.thinking == "closing_tag":
            content, reasoning = f"{reasoning}\n</think>\n\n{content}", ""
        if self.dialect == "template":
            for call in self.calls:
                content += f'\n<tool_call>\n{{"name": "{call.name}", "arguments": {call.text}}}\n</tool_call>'
        field_name = "reasoning" if self.thinking == "reasoning" else "reasoning_content"
        deltas = [{field_name: piece} for piece in self._pieces(reasoning)]
        deltas += [{"content": piece} for piece in self._pieces(content)]
        if self.dialect == "native":
            for index, call in enumerate(self.calls):
                opening: dict[str, Any] = {
                    "index": index,
                    "type": "function",
                    "function": {"name": call.name, "arguments": ""},
                    **call.extra,
                }
                if call.id is not None:
                    opening["id"] = call.id or f"call_{index + 1}"
                deltas.append({"tool_calls": [opening]})
                deltas += [
                    {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}
                    for piece in self._pieces(call.text)
                ]
        deltas += [{"content": piece} for piece in self._pieces(self.after_calls)]
        return deltas

    def _pieces(self, text: str) -> list[str]:
        if self.escape:  # UTF-16 code units, so that a surrogate pair is split
            units = text.encode("utf-16-le", "surrogatepass")
            step = 2 * self.piece
            return [units[i : i + step].decode("utf-16-le", "surrogatepass") for i in range(0, len(units), step)]
        return [text[i : i + self.piece] for i in range(0, len(text), self.piece)]


Respond = Callable[[dict[str, Any]], Script]


@dataclass
class Request:
    """What the server received in one call."""

    body: dict[str, Any]
    headers: dict[str, str]
    at: float
    """``time.time()`` when it had been read."""
    sent: int = 0
    """Tokens sent so far."""
    first_token_at: float | None = None
    closed_at: float | None = None
    """When the client closed the connection before the answer was complete."""
    finished_at: float | None = None
    """When the answer was complete."""
    peer: str = ""
    """The client's address and port: the same for requests on one connection."""


_ENDLESS = ("huge", "pings", "long_event")
_ERRORS = {
    400: "This model's maximum context length is 4096 tokens.",
    401: "Incorrect API key provided.",
    429: "Rate limit reached.",
}
_WORDS = re.compile(r"\[([^\]\n]*(?:\{[^\n]*\})?[^\]\n]*)\]")


def by_words(body: dict[str, Any]) -> Script:
    """The script that the last user message asks for in brackets; without any, a short answer."""
    messages = body["messages"]
    last = max((i for i, m in enumerate(messages) if m["role"] == "user"), default=-1)
    text = _text(messages[last]) if last >= 0 else ""
    results = [_text(m) for m in messages[last + 1 :] if m["role"] == "tool"]
    found = _WORDS.search(text)
    words = found[1] if found else ""
    calls = [Call(name, arguments) for name, arguments in re.findall(r"call=([\w-]+):(\{.*?\})(?=\s|$)", words)]
    options = dict(re.findall(r"(\w+)=([\w.]+)", re.sub(r"call=\S+?:\{.*?\}(?=\s|$)", "", words)))
    flags = set(re.sub(r"\w+=\S+", "", words).split())
    if "always" in flags:
        results = []
    count = int(options.get("tokens", 12))
    content = " ".join(f"word{i}" for i in range(count))
    if results:
        content = "The tools said: " + " | ".join(results)
    elif calls:
        content = ""
    fault: Any = options.get("fault")
    return Script(
        content=content,
        reasoning="".join(f"idea{i:<3} " for i in range(int(options.get("reasoning", 0)))),
        calls=() if results else tuple(calls),
        dialect="template" if "template" in flags else "native",
        thinking="tags" if "tags" in flags else "reasoning_content",
        every_s=float(options.get("every", 0)) / 1000,
        first_s=float(options.get("first", 0)) / 1000,
        piece=8 if found else 4,
        stamp="stamp" in flags and not results,
        fault=None if results else fault,
        fault_after=int(options.get("after", 2)),
        status=int(options.get("status", 200)),
    )


def _text(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


class ModelServer:
    """The server. A context manager; `start` and `stop` do the same by hand."""

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.host, self.port = host, port
        self.requests: list[Request] = []
        self.respond: Respond = by_words
        self.refuses_like: Literal["", "vLLM", "llama.cpp"] = ""
        """Whose words a request that breaks a rule is refused with; empty: it is answered, and the test fails."""
        self.is_judging = True
        """False for who asks on purpose what nobody should."""
        self.models: list[dict[str, Any]] = [{"id": "scripted", "object": "model"}]
        self._sent_fields: set[str] = set()
        self._queue: deque[Script] = deque()
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="model-server", daemon=True)
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """The base URL, as ``LLM_MODEL_SERVER`` wants it."""
        return f"http://{self.host}:{self.port}/v1"

    def enqueue(self, *scripts: Script) -> None:
        """Answer the next requests with these, one each."""
        self._queue.extend(scripts)

    def reset(self) -> None:
        """Forget requests, queue, `respond` and `refuses_like`."""
        self.refuses_like = ""
        self.requests.clear()
        self._queue.clear()
        self.respond = by_words

    def wait_for(self, condition: Callable[[], bool], timeout: float = 10.0) -> None:
        """Block until ``condition`` holds; it is checked whenever the record changes."""
        with self._changed:
            if not self._changed.wait_for(condition, timeout):
                raise TimeoutError(
                    f"The model server waited {timeout} s in vain; it saw {len(self.requests)} requests."
                )

    async def until(self, condition: Callable[[], bool], timeout: float = 10.0) -> None:  # noqa: ASYNC109 - same as wait_for
        """`wait_for`, from a coroutine."""
        await asyncio.to_thread(self.wait_for, condition, timeout)

    def start(self) -> Self:
        """Listen."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)
        return self

    def stop(self) -> None:
        """Close every connection and end the thread."""

        async def close() -> None:
            if self._runner is not None:
                self._loop.remove_reader(self._listening)
                await asyncio.sleep(0)  # asyncio loses a connection that is being accepted when its server closes
                await self._runner.cleanup()
            # The runner leaves behind connections that were just accepted, and those with data that nobody reads.
            while (left := self._open()) or len(asyncio.all_tasks()) > 1:
                for transport in left:
                    transport.abort()
                await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _open(self) -> list[asyncio.Transport]:
        transports = self._loop._transports.values()  # type: ignore[attr-defined]
        return [transport for transport in transports if transport._sock is not None]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def _listen(self) -> None:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/journal", self._journal)
        # Handlers are cancelled when the client disconnects: that is how a closed connection is noticed.
        self._runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        self._listening = socket.create_server((self.host, self.port), backlog=128)
        await web.SockSite(self._runner, self._listening).start()
        self.port = self._listening.getsockname()[1]

    async def _models(self, _request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": self.models})

    async def _journal(self, _request: web.Request) -> web.Response:
        return web.json_response([vars(request) for request in self.requests])

    def _note(self, **changes: Any) -> None:
        """Change the record under the lock under which `wait_for` checks its condition."""
        with self._changed:
            request = changes.pop("request")
            for name, value in changes.items():
                setattr(request, name, value)
            self._changed.notify_all()

    def _judge(self, body: dict[str, Any]) -> Script | None:
        """Record what is wrong with a request, or refuse it for that."""
        faults = "; ".join(find_faults(body, self._sent_fields))
        if not faults:
            return None
        if self.refuses_like == "vLLM":
            error = {"object": "error", "message": faults, "type": "BadRequestError", "param": None, "code": 400}
            return Script(status=400, body=json.dumps(error))
        if self.refuses_like == "llama.cpp":
            error = {"error": {"code": 400, "message": faults, "type": "invalid_request_error"}}
            return Script(status=400, body=json.dumps(error))
        if self.is_judging:
            FAULTS.append(faults)
        return None

    def note_fields(self, delta: dict[str, Any]) -> None:
        """Record the additional fields that this server has sent, because it must accept them back."""
        self._sent_fields |= delta.keys()
        for call in delta.get("tool_calls") or ():
            self._sent_fields |= {*call.keys(), *(call.get("function") or {}).keys()}

    async def _chat(self, http: web.Request) -> web.StreamResponse:
        body = await http.json()
        peer = http.transport.get_extra_info("peername") if http.transport else None
        request = Request(body, dict(http.headers), time.time(), peer=f"{peer[0]}:{peer[1]}" if peer else "")
        with self._changed:
            self.requests.append(request)
            refusal = self._judge(body)
            script = refusal or (self._queue.popleft() if self._queue else None)
            self._changed.notify_all()
        try:
            response = await self._answer(script or self.respond(body), http, request)
        except asyncio.CancelledError:
            self._note(request=request, closed_at=time.time())
            raise
        except ConnectionError:  # the same fields as text
            self._note(request=request, closed_at=time.time())
            return web.Response()
        self._note(request=request, finished_at=time.time())
        return response

    async def _answer(self, script: Script, http: web.Request, request: Request) -> web.StreamResponse:
        if script.first_s:
            await asyncio.sleep(script.first_s)
        if script.fault == "hang":
            await asyncio.Event().wait()
        if script.fault == "drop":
            _transport(http).close()
            return web.Response()
        if script.status != 200 or script.body is not None:
            error = {
                "error": {
                    "message": _ERRORS.get(script.status, "The server had an error."),
                    "type": "error",
                    "code": script.status,
                }
            }
            text = script.body if script.body is not None else json.dumps(error)
            return web.Response(
                status=script.status, text=text, headers=script.headers, content_type="application/json"
            )
        if script.fault == "bad_sse":
            return web.Response(text="<!doctype html><title>Welcome to nginx!</title>", content_type="text/html")
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache", **script.headers}
        )
        await response.prepare(http)
        stream = _Stream(response, script, body=request.body)
        try:
            await self._stream(script, stream, http, request)
        except _Over:
            return response
        await response.write_eof()
        return response

    async def _stream(self, script: Script, stream: "_Stream", http: web.Request, request: Request) -> None:
        await stream.chunk({"role": "assistant", "content": ""})
        for delta in script.deltas():
            if script.fault and request.sent >= script.fault_after:
                break
            if script.every_s:
                await asyncio.sleep(script.every_s)
            self.note_fields(delta)
            stamped = script.stamp and "content" in delta
            await stream.chunk({"content": f"{time.time():.6f} "} if stamped else delta)
            now = time.time()
            self._note(request=request, sent=request.sent + 1, first_token_at=request.first_token_at or now)
        if script.fault:
            await self._break(script.fault, stream, http)
            return
        finish = (
            ("tool_calls" if script.calls and script.dialect == "native" else "stop")
            if script.finish == ""
            else script.finish
        )
        usage = script.usage
        if usage is True:
            prompt = sum(len(_text(message)) for message in request.body["messages"]) // 4 + 1
            usage = {"prompt_tokens": prompt, "completion_tokens": request.sent, "total_tokens": prompt + request.sent}
        if usage and not script.empty_choices:
            await stream.chunk({}, finish=finish, usage=usage)
        else:
            await stream.chunk({}, finish=finish)
            if usage:
                await stream.event({**stream.head, "choices": [], "usage": usage})
        await stream.write(b"data: [DONE]\n\n")

    async def _break(self, fault: Fault, stream: "_Stream", http: web.Request) -> None:
        if fault == "stall":
            await asyncio.Event().wait()
        elif fault == "reset":
            _transport(http).abort()
            raise _Over
        elif fault == "cut":
            _transport(http).close()
            raise _Over
        elif fault == "done_only":
            await stream.write(b"data: [DONE]\n\n")
        elif fault == "bad_json":
            await stream.write(b'data: {"choices": [{"delta": {"content": \n\n')
        elif fault == "error_event":
            await stream.event({"error": {"message": "CUDA out of memory", "type": "InternalServerError", "code": 500}})
        elif fault in _ENDLESS:
            await self._go_on_and_on(fault, stream)

    async def _go_on_and_on(self, fault: Fault, stream: "_Stream") -> None:
        if fault == "long_event":
            await stream.write(b"data: ")
        while True:
            if fault == "huge":
                await stream.chunk({"content": "x" * 65_536})
            elif fault == "long_event":
                await stream.write(b"x" * 65_536)
            else:
                await stream.write(b": keep-alive\n\n")
                await asyncio.sleep(0.05)


class _Over(Exception):
    """The connection was closed on purpose: nothing is to be finished."""


def _transport(http: web.Request) -> asyncio.Transport:
    assert isinstance(http.transport, asyncio.Transport)
    return http.transport


class _Stream:
    """Writes chunks of one completion."""

    def __init__(self, response: web.StreamResponse, script: Script, body: dict[str, Any]) -> None:
        self._response, self._script = response, script
        self.head = {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": body.get("model", ""),
        }

    async def chunk(
        self, delta: dict[str, Any], *, finish: str | None = None, usage: dict[str, int] | None = None
    ) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        await self.event({**self.head, "choices": [choice]} | ({"usage": usage} if usage else {}))

    async def event(self, data: dict[str, Any]) -> None:
        await self.write(f"data: {json.dumps(data, ensure_ascii=self._script.escape)}\n\n".encode())

    async def write(self, data: bytes) -> None:
        step = self._script.bytes_per_write or len(data)
        for start in range(0, len(data), step):
            await self._response.write(data[start : start + step])
            if step < len(data):
                await asyncio.sleep(0)


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="A scripted OpenAI-compatible model server.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    with ModelServer(host=options.host, port=options.port) as server:
        print(server.url, flush=True)  # noqa: T201 - how a starter learns the port
        threading.Event().wait()


if __name__ == "__main__":
    main()
