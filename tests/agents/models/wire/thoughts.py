"""Thoughts and refusals in the fields that servers use for them, and in tags in the text."""

from typing import Any

from tests.agents.models.wire.transcript import Table, answers, body, call, chunk_of, ends, whole

_BOTH = ["thought: hm so", "answer: hello"]
_PROSE = (
    "DeepSeek writes <think> before it reasons and </think> after it.",
    "A thought is put between <think> and </think>, each on its own.",
    "First: <thinking> is Claude's. Then </thinking>.",
    "The format is\n<think>\nreasons\n</think>\nand the answer.",
    "The closing tag </think> ends it.",
    "It ends with </think>",
    'Write "<think>" or (<think>).',
    "Use `<think>` and `</think>`.",
    "```\n<think>\n```\nis code.",
    "1 < 2 and [THINK] and <t",
    "Qwen wraps calls in <tool_call> and </tool_call> tags.",
    "Mistral writes [TOOL_CALLS] before calls, see [this](x).",
    'Code: `<tool_call>{"name": "python"}</tool_call>`',
)


def _grows(text: str, *, step: int = 3) -> list[str]:
    """Each chunk has the whole text so far."""
    return [text[:end] for end in range(step, len(text) + step, step)]


def _details(text: str, **more: Any) -> dict[str, Any]:
    return chunk_of(reasoning_details=[{"type": "reasoning.text", "index": 0, "text": text, **more}])


_LONG = "The user says hello, so hello it is."


def _of(index: int, chunk: dict[str, Any]) -> dict[str, Any]:
    """The chunk with another index of the answer."""
    return {**chunk, "choices": [{**choice, "index": index} for choice in chunk["choices"]]}


TABLE: Table = {
    "a second answer, which nobody asked for, between the pieces of the first": (
        body(_of(0, chunk_of("hel")), _of(1, chunk_of("hi")), _of(1, ends()), _of(0, chunk_of("lo")), _of(0, ends())),
        ["answer: hello"],
    ),
    "two answers in each chunk": (
        body(
            *(
                {"choices": _of(1, chunk_of(b))["choices"] + _of(0, chunk_of(a))["choices"]}
                for a, b in (("h", "x"), ("i", "y"))
            ),
            ends(),
        ),
        ["answer: xy"],
    ),
    "an answer whose index is not 0": (
        body(_of(1, chunk_of("hel")), _of(1, chunk_of("lo")), _of(1, ends())),
        ["answer: hello"],
    ),
    "details that grow": (
        body(*map(_details, _grows(_LONG)), chunk_of("hello"), ends()),
        [f"thought: {_LONG}", "answer: hello"],
    ),
    "details that grow, twice": (
        body(*map(_details, ("The user says", _LONG)), chunk_of("hello"), ends()),
        [f"thought: {_LONG}", "answer: hello"],
    ),
    "details that grow, and then all of them again": (
        body(*map(_details, [*_grows(_LONG), _LONG]), chunk_of("hello"), _details(_LONG), ends()),
        [f"thought: {_LONG}", "answer: hello"],
    ),
    "details in pieces": (
        body(*map(_details, ("The user", " says", " hello")), chunk_of("hello"), ends()),
        ["thought: The user says hello", "answer: hello"],
    ),
    "details in pieces, of which one begins another": (
        body(*map(_details, ("a", "and", " so", " on")), chunk_of("hello"), ends()),
        ["thought: aand so on", "answer: hello"],
    ),
    "two pieces, of which one begins the other": (
        body(chunk_of("no"), chunk_of("nope"), ends()),
        ["answer: nonope"],
    ),
    "everything grows": (
        body(
            *(chunk_of(reasoning_content=text) for text in _grows(_LONG)),
            *map(chunk_of, _grows("hello there, you")),
            ends(),
        ),
        [f"thought: {_LONG}", "answer: hello there, you"],
    ),
    "an answer that grows, and a call": (
        body(*map(chunk_of, _grows(_LONG)), call('{"code":"6*7"}', name="python", id="a"), ends("tool_calls")),
        [f"thought: {_LONG}", 'call: python {"code":"6*7"}'],
    ),
    "an answer that grows up to its end": (
        body(*map(chunk_of, _grows(_LONG)[:-1]), ends("stop", _LONG)),
        [f"answer: {_LONG}"],
    ),
    "all of the answer once more, beside the end": (
        body(chunk_of("The user says hello"), chunk_of(", so hello it is."), ends("stop", _LONG)),
        [f"answer: {_LONG}"],
    ),
    "a thought both in its field and in the text": (
        body(
            chunk_of("<think>The user", reasoning_content="The user"),
            chunk_of(" says", reasoning_content=" says"),
            chunk_of(" `</think>` hello", reasoning_content=" `</think>` hello"),
            chunk_of("\n</think>\n\nhello"),
            ends(),
        ),
        ["thought: The user says `</think>` hello", "answer: hello"],
    ),
    "a thought in its field, and another in the text": (
        body(chunk_of(reasoning="hm"), chunk_of("<think>so</think>hello"), ends()),
        ["thought: hm\n\nso", "answer: hello"],
    ),
    "a thought in its field, and again without an end": (
        body(chunk_of(reasoning="hm"), chunk_of("<think>hm"), ends()),
        ["thought so far: hm", "fails: The model ended after its thoughts without giving an answer."],
    ),
    "the same word again and again": (
        body(chunk_of("ha"), chunk_of("ha"), chunk_of("haha"), ends()),
        ["answer: hahahaha"],
    ),
    "a list of thinking and text": (
        body(
            chunk_of([{"type": "thinking", "thinking": [{"type": "text", "text": "hm so"}]}]),
            chunk_of([{"type": "text", "text": "hello"}]),
            ends(),
        ),
        _BOTH,
    ),
    "the same, unstreamed": (
        whole(
            {
                "content": [
                    {"type": "thinking", "thinking": [{"type": "text", "text": "hm so"}]},
                    {"type": "text", "text": "hello"},
                ]
            }
        ),
        _BOTH,
    ),
    "thinking as text, and a reference": (
        body(
            chunk_of([{"type": "thinking", "thinking": "hm so"}, {"type": "reference", "reference_ids": [1]}, "hello"]),
            ends(),
        ),
        _BOTH,
    ),
    "a list in one delta with text behind it": (
        body(
            chunk_of([{"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm so"}]}]),
            chunk_of("hello"),
            ends(),
        ),
        _BOTH,
    ),
    "one part instead of a list": (
        body(chunk_of(reasoning="hm so"), chunk_of({"type": "text", "text": "hello"}), ends()),
        _BOTH,
    ),
    **{
        f"the field {field}": (
            body(chunk_of(**{field: "hm "}), chunk_of(**{field: "so"}), chunk_of("hello"), ends()),
            _BOTH,
        )
        for field in ("reasoning_content", "reasoning", "reasoning_text", "thinking")
    },
    "reasoning as an object": (body(chunk_of(reasoning={"content": "hm so"}), chunk_of("hello"), ends()), _BOTH),
    "only blocks": (
        body(
            chunk_of(thinking_blocks=[{"type": "thinking", "thinking": "hm ", "signature": None}]),
            chunk_of(thinking_blocks=[{"type": "thinking", "thinking": "so", "signature": "s"}]),
            chunk_of("hello"),
            ends(),
        ),
        _BOTH,
    ),
    "blocks beside the field": (
        body(
            chunk_of(reasoning_content="hm so", thinking_blocks=[{"type": "thinking", "thinking": "hm so"}]),
            chunk_of("hello"),
            ends(),
        ),
        _BOTH,
    ),
    "only details": (
        body(chunk_of(reasoning_details=[{"type": "reasoning.text", "text": "hm so"}]), chunk_of("hello"), ends()),
        _BOTH,
    ),
    "a summary and what is enciphered": (
        body(
            chunk_of(
                reasoning_details=[
                    {"type": "reasoning.summary", "summary": "hm so"},
                    {"type": "reasoning.encrypted", "data": "x"},
                ]
            ),
            chunk_of("hello"),
            ends(),
        ),
        _BOTH,
    ),
    "details beside the field": (
        body(
            chunk_of(reasoning="hm so", reasoning_details=[{"type": "reasoning.text", "text": "hm so"}]),
            chunk_of("hello"),
            ends(),
        ),
        _BOTH,
    ),
    "details behind the field": (
        body(
            chunk_of(reasoning="hm so"),
            chunk_of("hello"),
            chunk_of("", reasoning_details=[{"type": "reasoning.text", "text": "hm so"}]),
            ends(),
        ),
        _BOTH,
    ),
    "both fields": (body(chunk_of(reasoning="hm so", reasoning_content="hm so"), chunk_of("hello"), ends()), _BOTH),
    "a refusal": (
        body(chunk_of(refusal="I cannot "), chunk_of(refusal="help with that."), ends()),
        ["answer: I cannot help with that."],
    ),
    "a refusal that is the answer, too": (
        body(chunk_of("I cannot.", refusal="I cannot."), ends()),
        ["answer: I cannot."],
    ),
    "a refusal, unstreamed": (whole({"content": None, "refusal": "I cannot."}), ["answer: I cannot."]),
    "a refusal in a list": (whole({"content": [{"type": "refusal", "refusal": "I cannot."}]}), ["answer: I cannot."]),
    **{f"prose: {text[:30]}": (answers(text), [f"answer: {text}"]) for text in _PROSE},
    **{
        f"prose behind a thought: {text[:30]}": (
            answers(f"<think>hm</think>{text}"),
            ["thought: hm", f"answer: {text}"],
        )
        for text in _PROSE
        if "\n<think>\nreasons" not in text  # here the reply thinks again
    },
    **{
        f"prose behind a thought's field: {text[:30]}": (
            body(chunk_of(reasoning="hm"), chunk_of(text), ends()),
            ["thought: hm", f"answer: {text}"],
        )
        for text in _PROSE
    },
    **{
        f"the tag {opener}": (answers(f"\n{opener}\nhm so\n{closer}\n\nhello"), _BOTH)
        for opener, closer in (
            ("<think>", "</think>"),
            ("<thinking>", "</thinking>"),
            ("<thought>", "</thought>"),
            ("<seed:think>", "</seed:think>"),
            ("[THINK]", "[/THINK]"),
            ("◁think▷", "◁/think▷"),
            ("<mm:think>", "</mm:think>"),
            ("<|channel>thought", "<channel|>"),
            ("<|START_THINKING|>", "<|END_THINKING|>"),
            ("<|begin_of_thought|>", "<|end_of_thought|>"),
            ("<longcat_think>", "</longcat_think>"),
            ("<reasoning>", "</reasoning>"),
        )
    },
    **{
        f"a thought that begins with {opener} and ends with {closer}": (
            answers(f"{opener}hm so{closer}\n\nhello"),
            _BOTH,
        )
        for opener, closer in (
            ("<think>", "</thinking>"),
            ("<thinking>", "</think>"),
            ("<thought>", "</think>"),
            ("<think>", "</thought>"),
        )
    },
    "a thought that speaks of another's end": (
        answers("<think>Claude's is </thinking>, mine not</think>hello"),
        ["thought: Claude's is </thinking>, mine not", "answer: hello"],
    ),
    "a thought without an end that speaks of another's": (
        answers("<think>Claude's is `</thinking>`"),
        [
            "thought so far: Claude's is `</thinking>`",
            "fails: The model ended after its thoughts without giving an answer.",
        ],
    ),
    "a draft of the answer behind a thought's field": (
        body(chunk_of(reasoning="hm"), chunk_of("draft\nof it\n</think>\n\nhello"), ends()),
        ["thought: hm", "thought: draft\nof it", "answer: hello"],
    ),
    "a draft of the answer behind a thought": (
        answers("<think>hm</think>draft\n</think>\n\nhello"),
        ["thought: hm", "thought: draft", "answer: hello"],
    ),
    "no draft, but code": (
        body(chunk_of(reasoning="hm"), chunk_of("```\n</think>\n```\nends it"), ends()),
        ["thought: hm", "answer: ```\n</think>\n```\nends it"],
    ),
    **{
        f"an answer within {name}": (
            answers(f"<think>\nhm so\n</think>\n<{name}>\nhello\n</{name}>\n"),
            _BOTH,
        )
        for name in ("answer", "response")
    },
    **{
        f"thought and answer in marks: {opener}": (answers(f"{opener}hm so{closer}{around}hello{end}"), _BOTH)
        for opener, closer, around, end in (
            ("<|START_THINKING|>", "<|END_THINKING|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>"),
            ("<|begin_of_thought|>", "<|end_of_thought|>\n\n", "<|begin_of_solution|>", "<|end_of_solution|>"),
        )
    },
    "an answer that holds another's tag": (
        answers("<think>hm so</think>Write <answer>x</answer>"),
        ["thought: hm so", "answer: Write <answer>x</answer>"],
    ),
    "an answer within its tag, without a thought": (answers("<answer>x</answer>"), ["answer: <answer>x</answer>"]),
    "a thought that the prompt opened": (answers("hm so\n</think>\n\nhello"), _BOTH),
    "the same in one line": (answers("hm so</think>hello"), _BOTH),
    "an empty thought that the prompt opened": (answers("</think>\n\nhello"), ["answer: hello"]),
    "a thought that speaks of its end": (
        answers("<think>`</think>` ends it</think>hello"),
        ["thought: `</think>` ends it", "answer: hello"],
    ),
    "a thought that ends in code": (answers("<think>so `x`</think>hello"), ["thought: so `x`", "answer: hello"]),
    "a second thought": (answers("<think>a</think>b\n<think>c</think>d"), ["thought: a", "thought: c", "answer: b\nd"]),
    "the end of a thought, left behind": (
        body(chunk_of(reasoning="hm so"), chunk_of("\n</think>\n\nhello"), ends()),
        _BOTH,
    ),
    "the result of a tool of the server's own": (
        body(chunk_of("hm so", role="tool", tool_call_id="c1"), chunk_of("hello", role="assistant"), ends()),
        _BOTH,
    ),
    "an answer under a tool's role": (body(chunk_of("hel", role="tool"), chunk_of("lo"), ends()), ["answer: hello"]),
    "an answer that is spoken": (
        body(
            chunk_of(audio={"id": "a"}),
            chunk_of(audio={"transcript": "hel"}),
            chunk_of(audio={"transcript": "lo"}),
            ends(),
        ),
        ["answer: hello"],
    ),
    "an answer that is spoken, unstreamed": (
        whole({"content": None, "audio": {"data": "AAAA", "transcript": "hello"}}),
        ["answer: hello"],
    ),
    "an answer that is spoken, too": (
        whole({"content": "hello", "audio": {"transcript": "hello"}}),
        ["answer: hello"],
    ),
}
