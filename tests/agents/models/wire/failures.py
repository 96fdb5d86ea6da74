"""Errors within an answer."""

from tests.agents.models.wire.transcript import Table, body, chunk_of, ends

_ERRORS = {
    "vLLM's": '{"object":"error","message":"KV cache out of memory","code":500}',
    "OpenAI's": '{"error":{"message":"KV cache out of memory","type":"server_error"}}',
    "Anthropic's": '{"type":"error","error":{"type":"overloaded_error","message":"KV cache out of memory"}}',
    "a text": '{"error":"KV cache out of memory"}',
    "with choices": '{"error":{"message":"KV cache out of memory"},"choices":[{"delta":{},"finish_reason":"error"}]}',
    "a gateway's": '{"code":50001,"message":"KV cache out of memory"}',
    "a gateway's, with no choices": '{"code":"InternalError","message":"KV cache out of memory","choices":null}',
    "FastAPI's": '{"detail":"KV cache out of memory","status":500}',
    "MiniMax's": '{"choices":null,"base_resp":{"status_code":1008,"status_msg":"KV cache out of memory"}}',
    "Baidu's": '{"error_code":17,"error_msg":"KV cache out of memory"}',
    "Groq's": '{"choices":[],"x_groq":{"error":"KV cache out of memory"}}',
}
_FAILS = "fails: The model server reported an error: KV cache out of memory"

TABLE: Table = {
    **{
        f"in the stream: {name}": (body(chunk_of("Half"), f"data: {error}\n\n"), ["answer so far: Half", _FAILS])
        for name, error in _ERRORS.items()
    },
    **{f"first: {name}": (body(f"data: {error}\n\n", done=False), [_FAILS]) for name, error in _ERRORS.items()},
    **{f"alone: {name}": (error.encode(), [_FAILS]) for name, error in _ERRORS.items()},
    "an error event": (body('event: error\ndata: {"message":"KV cache out of memory"}\n\n'), [_FAILS]),
    "an error event of words": (body("event: error\ndata: KV cache out of memory\n\n"), [_FAILS]),
    "llama.cpp's": (
        body(chunk_of("Half"), 'error: {"code":500,"message":"KV cache out of memory"}\n\n', done=False),
        ["answer so far: Half", _FAILS],
    ),
    "a line of JSON within the stream": (
        body(chunk_of("Half"), '{"error":{"message":"KV cache out of memory"}}\n\n', done=False),
        ["answer so far: Half", _FAILS],
    ),
    "a line of JSON behind half an event": (
        body(
            chunk_of("Half"),
            'data: {"choices":[{"delta":{"content":"and h\n{"type":"error","error":{"message":"KV cache out of memory"}}\n\n',
            done=False,
        ),
        ["answer so far: Half", _FAILS],
    ),
    "a code, and no words": (
        body(chunk_of("Half"), 'data: {"error":{"message":null,"code":"engine_overloaded","type":"error"}}\n\n'),
        ["answer so far: Half", "fails: The model server reported an error: engine_overloaded"],
    ),
    "words, and nothing else": (body("data: KV cache out of memory\n\n"), [_FAILS]),
    "a message, and nothing else": (
        body(chunk_of("Half"), 'data: {"message":"KV cache out of memory"}\n\n', done=False),
        ["answer so far: Half", _FAILS],
    ),
    **{
        f"no error: {error}": (
            body(f'data: {{"error":{error},"choices":[{{"delta":{{"content":"Whole"}}}}]}}\n\n', ends()),
            ["answer: Whole"],
        )
        for error in ('{"message":"","type":"","param":"","code":null}', '{"code":0,"message":""}', '""', "false")
    },
    **{
        f"a sign of life: {sign}": (body(f"data: {sign}\n\n", chunk_of("Whole"), ends()), ["answer: Whole"])
        for sign in (
            '{"code":"0","message":"success"}',
            '{"code":"Success","message":"going on"}',
            '{"status":"processing"}',
            '{"object":"ping","message":"waiting"}',
        )
    },
    "no error": (
        body('data: {"error":null,"code":0,"message":"ok","choices":[{"delta":{"content":"Whole"}}]}\n\n', ends()),
        ["answer: Whole"],
    ),
}
