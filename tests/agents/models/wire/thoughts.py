"""Thoughts and refusals in the fields that servers have for them, and tags in the text."""

from tests.agents.models.wire.transcript import Table, answers, body, ends, says, whole

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

TABLE: Table = {
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
        )
    },
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
}
