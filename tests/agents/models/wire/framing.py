"""Event streams as in the standard and as servers send them, and bodies that are no event streams."""

import json

from tests.agents.models.wire.transcript import Table, body, chunk_of, ends, whole

_HELLO = ["answer: Hello"]
_PRETTY = 'data: {"choices": [\ndata:   {"delta": {"content": "Hello"}}\ndata: ]}\n\n'

_OTHER = (
    "fails: What answers at http://h speaks another API than OpenAI's chat completions. "
    "LLM_MODEL_SERVER has to be the base URL of that one, which usually ends in /v1."
)
_OTHERS = {
    "Anthropic's": body(
        'event: message_start\ndata: {"type":"message_start","message":{"role":"assistant","content":[]}}\n\n',
        'event: content_block_delta\ndata: {"type":"content_block_delta","delta":{"text":"Hello"}}\n\n',
        'event: message_stop\ndata: {"type":"message_stop"}\n\n',
        done=False,
    ),
    "Responses": body(
        'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","delta":"Hello"}\n\n', done=False
    ),
    "Ollama's": b'{"message":{"content":"Hel"},"done":false}\n{"message":{"content":"lo"},"done":true}\n',
    "Gemini's": b'[{"candidates":[{"content":{"parts":[{"text":"Hello"}]},"finishReason":"STOP"}]}]',
    "text-generation-inference's": body('data:{"token":{"text":"Hello"},"generated_text":null}\n\n', done=False),
    "llama.cpp's": body('data: {"content":"Hello","stop":true}\n\n', done=False),
    "a list of models": b'{"object":"list","data":[]}',
}

TABLE: Table = {
    "data without anything": (body(chunk_of("Hel"), "data:\n\n", chunk_of("lo"), ends()), _HELLO),
    "data without anything, and a space": (
        body(chunk_of("Hel"), "data: \n\n", "data\n\n", chunk_of("lo"), ends()),
        _HELLO,
    ),
    "a mark first": (b"\xef\xbb\xbf" + body(chunk_of("Hello"), ends()), _HELLO),
    "a mark before JSON": (b"\xef\xbb\xbf" + whole({"content": "Hello"}), _HELLO),
    "all of it in another encoding": (
        whole({"content": "Hello"}).decode().encode("utf-16"),
        ["fails: The model server's answer could not be understood."],
    ),
    "all of it as a text in JSON": (
        json.dumps(whole({"content": "Hello"}).decode()).encode(),
        ["fails: The model server's answer could not be understood."],
    ),
    "an answer under the person's role": (body(chunk_of("Hel", role="user"), chunk_of("lo"), ends()), _HELLO),
    "comments": (body(": OPENROUTER PROCESSING\n\n", chunk_of("Hel"), ":\n\n", chunk_of("lo"), ends()), _HELLO),
    "lines that end as on Windows": (body(chunk_of("Hello"), ends(), end="\r\n\r\n"), _HELLO),
    "lines that end in a return": (body(chunk_of("Hel"), chunk_of("lo"), ends(), end="\r\r"), _HELLO),
    "no empty lines": (body(chunk_of("Hel"), chunk_of("lo"), ends(), end="\n"), _HELLO),
    "an event over several lines": (body(_PRETTY, ends()), _HELLO),
    "fields that say nothing": (
        body("id: 7\nevent: message\nretry: 9\nfoo: bar\nbaz\n", chunk_of("Hello"), ends()),
        _HELLO,
    ),
    "words instead of data": (body("data: ping\n\n", 'data: "hi"\n\n', chunk_of("Hello"), ends()), _HELLO),
    "values that are no chunks": (
        body("data: null\n\n", "data: 1\n\n", chunk_of("Hello"), "data: true\n\n", ends()),
        _HELLO,
    ),
    "a choice that is none": (body({"choices": [None]}, chunk_of("Hello"), ends()), _HELLO),
    **{
        f"all of it within {name}": (
            b'{"code":200,"msg":"ok","%s":%s}' % (name.encode(), whole({"content": "Hello"})),
            _HELLO,
        )
        for name in ("data", "result", "response")
    },
    "each chunk within another": (body({"data": chunk_of("Hello")}, {"data": ends()}), _HELLO),
    "one JSON behind the other": (
        b'{"choices":[{"delta":{"content":"Hello"}}]}{"choices":[{"finish_reason":"stop"}]}',
        _HELLO,
    ),
    "pings as JSON": (body('event: ping\ndata: {"type": "ping"}\n\n', chunk_of("Hello"), ends()), _HELLO),
    "no line end at the end": (body(chunk_of("Hello"), ends(), done=False, end="\n\n").rstrip(), _HELLO),
    "no line end behind the end": (body(chunk_of("Hello")).rstrip(), _HELLO),
    "a last event that was cut": (
        body(chunk_of("Hel"), done=False) + b'data: {"choices":[{"delta":{"content":"l',
        ["answer so far: Hel", "fails: The model's answer was cut off before its end."],
    ),
    "no JSON": (
        body(chunk_of("Hel"), 'data: {"choices": [{"delta":\n\n', chunk_of("lo"), ends()),
        ["answer so far: Hel", "fails: The model server's answer could not be understood."],
    ),
    "JSON nested too deeply": (
        body("data: " + "[" * 3000 + "\n\n"),
        ["fails: The model server's answer could not be understood."],
    ),
    "bytes that are no text": (b'data: {"choices":[{"delta":{"content":"H\xff"}}]}\n\n' + body(ends()), ["answer: H�"]),
    "halves of a pair": (
        body(
            'data: {"choices":[{"delta":{"content":"\\ud83d"}}]}\n\n',
            'data: {"choices":[{"delta":{"content":"\\ude00"}}]}\n\n',
            ends(),
        ),
        ["answer: 😀"],
    ),
    "unstreamed": (whole({"role": "assistant", "content": "Hello"}, usage={"prompt_tokens": 1}), _HELLO),
    "unstreamed, with space around it": (b"\n  " + whole({"content": "Hello"}) + b"\n", _HELLO),
    "a line of JSON for each chunk": (
        b'{"choices":[{"delta":{"content":"Hello"}}]}\n{"choices":[{"finish_reason":"stop"}]}\n',
        _HELLO,
    ),
    "a list of chunks": (
        b'[{"choices":[{"delta":{"content":"Hello"}}]},{"choices":[{"finish_reason":"stop"}]}]',
        _HELLO,
    ),
    "all of it once more at the end": (
        body(chunk_of("Hello"), {"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]}),
        _HELLO,
    ),
    "messages instead of deltas": (
        body(*({"choices": [{"message": {"content": text}}]} for text in ("Hel", "lo")), ends()),
        _HELLO,
    ),
    "messages instead of deltas, and all once more": (
        body(
            *({"choices": [{"message": {"content": text}}]} for text in ("Hel", "lo")),
            {"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}]},
        ),
        _HELLO,
    ),
    "messages that grow": (
        body(
            *({"choices": [{"message": {"content": "Hello there, you"[:end]}}]} for end in (5, 9, 13, 16)),
            {"choices": [{"message": {"content": "Hello there, you"}, "finish_reason": "stop"}]},
        ),
        ["answer: Hello there, you"],
    ),
    "unstreamed, and a stream's end behind it": (whole({"content": "Hello"}) + b"\n\ndata: [DONE]\n\n", _HELLO),
    "unstreamed without a reason, and a stream's end behind it": (
        whole({"content": "Hello"}, None) + b"\ndata: [DONE]",
        _HELLO,
    ),
    "text of the old completions": (body({"choices": [{"text": "Hello", "finish_reason": "stop"}]}), _HELLO),
    "filters without choices": (
        body({"choices": [], "prompt_filter_results": [{}]}, chunk_of("Hello"), ends()),
        _HELLO,
    ),
    "choices that say nothing": (
        body({"choices": [{"index": 0, "content_filter_offsets": {}}]}, chunk_of("Hello"), ends()),
        _HELLO,
    ),
    "usage that is none": (
        body(
            chunk_of("Hello"), ends(), {"choices": [], "usage": {"prompt_tokens": "many", "completion_tokens": 1e999}}
        ),
        _HELLO,
    ),
    "a web page": (
        b"\n<!doctype html><title>Welcome</title>",
        [
            (
                "fails: What answers at http://h is a web page, not a model server. "
                "LLM_MODEL_SERVER has to be the base URL of its API, which usually ends in /v1."
            )
        ],
    ),
    "words": (b"It works!\n", ["fails: The model server's answer could not be understood."]),
    **{f"another API: {name}": (data, [_OTHER]) for name, data in _OTHERS.items()},
    "nothing": (b"{}", ["fails: The model returned an empty answer."]),
    "the field's name twice": (body('data: data: {"choices":[{"delta":{"content":"Hello"}}]}\n\n', ends()), _HELLO),
    "two events in a line": (
        b'data: {"choices":[{"delta":{"content":"Hel"}}]}{"choices":[{"delta":{"content":"lo"}}]}\n\n' + body(ends()),
        _HELLO,
    ),
    "two events in a line, with their names": (
        b'data: {"choices":[{"delta":{"content":"Hel"}}]} data: {"choices":[{"delta":{"content":"lo"}}]}data: [DONE]\n\n',
        _HELLO,
    ),
    "what looks like an event within a text": (
        body(chunk_of('}data: {"choices":[]}'), ends()),
        ['answer: }data: {"choices":[]}'],
    ),
    "signs within texts that JSON wants escaped": (
        b'data: {"choices":[{"delta":{"content":"a\tb\x0cc"}}]}\n\n' + body(ends()),
        ["answer: a\tb\x0cc"],
    ),
    "a number that none is": (
        b'data: {"choices":[{"delta":{"content":"Hello"},"logprobs":-Infinity}]}\n\n' + body(ends()),
        _HELLO,
    ),
    "an index as text": (body({"choices": [{"index": "0", "delta": {"content": "Hello"}}]}, ends()), _HELLO),
    "no choices": (body({"choices": None}, {"choices": [{"delta": None}]}, chunk_of("Hello"), ends()), _HELLO),
    "an end without a delta": (
        body(chunk_of("Hello"), {"choices": [{"delta": None, "finish_reason": "stop"}]}),
        _HELLO,
    ),
    "the role alone": (
        body(chunk_of(role="assistant", content=None), chunk_of("Hello", tool_calls=None), ends()),
        _HELLO,
    ),
    "a number": (body(chunk_of("6 times 7 is "), chunk_of(42), chunk_of("."), ends()), ["answer: 6 times 7 is 42."]),
    "two choices": (
        body(
            {"choices": [{"index": 0, "delta": {"content": "Hello"}}, {"index": 1, "delta": {"content": "x"}}]}, ends()
        ),
        _HELLO,
    ),
    "usage beside each chunk": (
        body(
            {"choices": [{"delta": {"content": "Hello"}}], "usage": None},
            ends(),
            {"choices": None, "usage": {"prompt_tokens": 1}},
        ),
        _HELLO,
    ),
    "JSON that is no completion": (b'{"choices":[7]}', ["fails: The model server's answer could not be understood."]),
}
