"""Thoughts and refusals in the fields that servers use for them, and in tags in the text."""

from typing import Any

from tests.agents.models.wire.transcript import Table, answers, body, call, ends, says, whole

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
    return says(reasoning_details=[{"type": "reasoning.text", "index": 0, "text": text, **more}])


_LONG = "The user says hello, so hello it is."


def _of(index: int, chunk: dict[str, Any]) -> dict[str, Any]:
    """The chunk with another index of the answer."""
    return {**chunk, "choices": [{**choice, "index": index} for choice in chunk["choices"]]}


TABLE: Table = {
    "a second answer, which nobody asked for, between the pieces of the first": (
        body(_of(0, says("hel")), _of(1, says("hi")), _of(1, ends()), _of(0, says("lo")), _of(0, ends())),
        ["answer: hello"],
    ),
    "two answers in each chunk": (
        body(
            *(
                {"choices": _of(1, says(b))["choices"] + _of(0, says(a))["choices"]}
                for a, b in (("h", "x"), ("i", "y"))
            ),
            ends(),
        ),
        ["answer: xy"],
    ),
    "an answer whose index is not 0": (
        body(_of(1, says("hel")), _of(1, says("lo")), _of(1, ends())),
        ["answer: hello"],
    ),
    "details that grow": (
        body(*map(_details, _grows(_LONG)), says("hello"), ends()),
        [f"thought: {_LONG}", "answer: hello"],
    ),
    "details that grow, twice": (
        body(*map(_details, ("The user says", _LONG)), says("hello"), ends()),
        [f"thought: {_LONG}", "answer: hello"],
    ),
    "details that grow, and then all of them again": (
        body(*map(_details, [*_grows(_LONG), _LONG]), says("hello"), _details(_LONG), ends()),
        [f"thought: {_LONG}", "answer: hello"],
    ),
    "details in pieces": (
        body(*map(_details, ("The user", " says", " hello")), says("hello"), ends()),
        ["thought: The user says hello", "answer: hello"],
    ),
    "details in pieces, of which one begins another": (
        body(*map(_details, ("a", "and", " so", " on")), says("hello"), ends()),
        ["thought: aand so on", "answer: hello"],
    ),
    "two pieces, of which one begins the other": (
        body(says("no"), says("nope"), ends()),
        ["answer: nonope"],
    ),
    "everything grows": (
        body(
            *(says(reasoning_content=text) for text in _grows(_LONG)),
            *map(says, _grows("hello there, you")),
            ends(),
        ),
        [f"thought: {_LONG}", "answer: hello there, you"],
    ),
    "an answer that grows, and a call": (
        body(*map(says, _grows(_LONG)), call('{"code":"6*7"}', name="python", id="a"), ends("tool_calls")),
        [f"thought: {_LONG}", 'call: python {"code":"6*7"}'],
    ),
    "an answer that grows up to its end": (
        body(*map(says, _grows(_LONG)[:-1]), ends("stop", _LONG)),
        [f"answer: {_LONG}"],
    ),
    "all of the answer once more, beside the end": (
        body(says("The user says hello"), says(", so hello it is."), ends("stop", _LONG)),
        [f"answer: {_LONG}"],
    ),
    "a thought both in its field and in the text": (
        body(
            says("<think>The user", reasoning_content="The user"),
            says(" says", reasoning_content=" says"),
            says(" `</think>` hello", reasoning_content=" `</think>` hello"),
            says("\n</think>\n\nhello"),
            ends(),
        ),
        ["thought: The user says `</think>` hello", "answer: hello"],
    ),
    "a thought in its field, and another in the text": (
        body(says(reasoning="hm"), says("<think>so</think>hello"), ends()),
        ["thought: hm\n\nso", "answer: hello"],
    ),
    "a thought in its field, and again without an end": (
        body(says(reasoning="hm"), says("<think>hm"), ends()),
        ["thought so far: hm", "fails: The model ended after its thoughts without giving an answer."],
    ),
    "the same word again and again": (body(says("ha"), says("ha"), says("haha"), ends()), ["answer: hahahaha"]),
    "a list of thinking and text": (
        body(
            says([{"type": "thinking", "thinking": [{"type": "text", "text": "hm so"}]}]),
            says([{"type": "text", "text": "hello"}]),
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
            says([{"type": "thinking", "thinking": "hm so"}, {"type": "reference", "reference_ids": [1]}, "hello"]),
            ends(),
        ),
        _BOTH,
    ),
    "a list in one delta with text behind it": (
        body(
            says([{"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm so"}]}]), says("hello"), ends()
        ),
        _BOTH,
    ),
    "one part instead of a list": (
        body(says(reasoning="hm so"), says({"type": "text", "text": "hello"}), ends()),
        _BOTH,
    ),
    **{
        f"the field {field}": (body(says(**{field: "hm "}), says(**{field: "so"}), says("hello"), ends()), _BOTH)
        for field in ("reasoning_content", "reasoning", "reasoning_text", "thinking")
    },
    "reasoning as an object": (body(says(reasoning={"content": "hm so"}), says("hello"), ends()), _BOTH),
    "only blocks": (
        body(
            says(thinking_blocks=[{"type": "thinking", "thinking": "hm ", "signature": None}]),
            says(thinking_blocks=[{"type": "thinking", "thinking": "so", "signature": "s"}]),
            says("hello"),
            ends(),
        ),
        _BOTH,
    ),
    "blocks beside the field": (
        body(
            says(reasoning_content="hm so", thinking_blocks=[{"type": "thinking", "thinking": "hm so"}]),
            says("hello"),
            ends(),
        ),
        _BOTH,
    ),
    "only details": (
        body(says(reasoning_details=[{"type": "reasoning.text", "text": "hm so"}]), says("hello"), ends()),
        _BOTH,
    ),
    "a summary and what is enciphered": (
        body(
            says(
                reasoning_details=[
                    {"type": "reasoning.summary", "summary": "hm so"},
                    {"type": "reasoning.encrypted", "data": "x"},
                ]
            ),
            says("hello"),
            ends(),
        ),
        _BOTH,
    ),
    "details beside the field": (
        body(
            says(reasoning="hm so", reasoning_details=[{"type": "reasoning.text", "text": "hm so"}]),
            says("hello"),
            ends(),
        ),
        _BOTH,
    ),
    "details behind the field": (
        body(
            says(reasoning="hm so"),
            says("hello"),
            says("", reasoning_details=[{"type": "reasoning.text", "text": "hm so"}]),
            ends(),
        ),
        _BOTH,
    ),
    "both fields": (body(says(reasoning="hm so", reasoning_content="hm so"), says("hello"), ends()), _BOTH),
    "a refusal": (
        body(says(refusal="I cannot "), says(refusal="help with that."), ends()),
        ["answer: I cannot help with that."],
    ),
    "a refusal that is the answer, too": (body(says("I cannot.", refusal="I cannot."), ends()), ["answer: I cannot."]),
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
            body(says(reasoning="hm"), says(text), ends()),
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
        body(says(reasoning="hm"), says("draft\nof it\n</think>\n\nhello"), ends()),
        ["thought: hm", "thought: draft\nof it", "answer: hello"],
    ),
    "a draft of the answer behind a thought": (
        answers("<think>hm</think>draft\n</think>\n\nhello"),
        ["thought: hm", "thought: draft", "answer: hello"],
    ),
    "no draft, but code": (
        body(says(reasoning="hm"), says("```\n</think>\n```\nends it"), ends()),
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
    "the end of a thought, left behind": (body(says(reasoning="hm so"), says("\n</think>\n\nhello"), ends()), _BOTH),
    "the result of a tool of the server's own": (
        body(says("hm so", role="tool", tool_call_id="c1"), says("hello", role="assistant"), ends()),
        _BOTH,
    ),
    "an answer under a tool's role": (body(says("hel", role="tool"), says("lo"), ends()), ["answer: hello"]),
    "an answer that is spoken": (
        body(says(audio={"id": "a"}), says(audio={"transcript": "hel"}), says(audio={"transcript": "lo"}), ends()),
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
