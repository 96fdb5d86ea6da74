"""The end of an answer, and what is no end."""

from tests.agents.models.wire.transcript import Table, answers, body, call, chunk_of, ends, whole

WHOLE = (
    "stop STOP Stop eos eos_token end_turn stop_sequence COMPLETE normal "
    "<|eom_id|> stop_token_id END_ID STOP_WORDS eos_reached stop_sequence_reached end_of_message FINISH_REASON_STOP "
    "<|eot_id|> <|im_end|> </s> stopStringFound REASON_STOP"
).split()
#: Finish reasons of tool calls.
CALLED = "tool_calls TOOL_CALLS function_call tool_use tool-calls FinishReason.TOOL_CALLS".split()
CUT = (
    "length LENGTH max_tokens MAX_TOKENS model_length max_output_tokens token_limit maxPredictedTokensReached REASON_MAX_LEN "
    "model_context_window_exceeded contextLengthReached max_output context max_total_tokens maximum_tokens max_tokens_exceeded "
    "truncated context_overflow FinishReason.MAX_TOKENS"
).split()
WITHHELD = [
    *("content_filter", "SAFETY", "sensitive", "RECITATION", "refusal"),
    *("content_filter: PROHIBITED_CONTENT", "MODEL_ARMOR", "IMAGE_RECITATION", "LANGUAGE", "policy_violation"),
]
OTHER = [
    "insufficient_system_resource",
    "error",
    "network_error",
    "abort",
    "user_cancel",
    "time_limit",
    "unknown",
    "MALFORMED_FUNCTION_CALL",
    "function_call_filter: MALFORMED_FUNCTION_CALL",
]
_LENGTH = "fails: The model reached its length limit, so its answer breaks off here."
_WITHHELD = "fails: The model's provider withheld the rest of the answer (content filter)."
_NO_CALL = "thought: The model server says that a tool was called here, and has sent no call: this may not be the whole answer."
_NOTHING = (
    "fails: The model server says that a tool was called, and has sent no call, so nothing was run. "
    "The server's tool parser may not fit the model; LLM_TOOL_FORMAT=template does without one."
)
_LOST = "fails: The model's answer was cut off before its end."


def _other(reason: str) -> str:
    return f"fails: The model server ended the answer before its end, and gave “{reason}” as the reason."


#: Marks that models write at the end, and texts that really end with one.
MARKS = "</s> <|im_end|> <|eot_id|> <|end|> <|endoftext|> <end_of_turn> <turn|> <｜end▁of▁sentence｜>".split()
SPOKEN = ["It ends with </s>", "A text is <s>struck</s>", "Llama's is `<|eot_id|>", "Ends with <|im_end|>"]

TABLE: Table = {
    **{f"the mark {mark}": (answers(f"One two.{mark}"), ["answer: One two."]) for mark in MARKS},
    **{f"the mark {mark} on a line": (answers(f"`x`.{mark}\n"), ["answer: `x`."]) for mark in MARKS},
    **{f"the mark {mark} twice": (answers(f"One two.{mark}{mark}"), ["answer: One two."]) for mark in MARKS},
    **{f"no mark: {text}": (answers(text), [f"answer: {text}"]) for text in SPOKEN},
    **{
        f"the stream's end: {end}": (body(chunk_of("Hello"), f"{end}\n\n", done=False), ["answer: Hello"])
        for end in ("data: [done]", 'data: "[DONE]"', "data: DONE", "data: data: [DONE]", "event: done\ndata: {}")
    },
    "a reason that is only true": (body(chunk_of("One"), ends(True)), ["answer: One"]),
    **{f"whole: {reason}": (body(chunk_of("Half"), ends(reason)), ["answer: Half"]) for reason in WHOLE},
    **{
        f"called, without a call: {reason}": (
            body(chunk_of("Let me look."), ends(reason)),
            [_NO_CALL, "answer: Let me look."],
        )
        for reason in CALLED
    },
    "called, with an empty list of calls": (
        body(chunk_of("Let me look.", tool_calls=[]), ends("tool_calls")),
        [_NO_CALL, "answer: Let me look."],
    ),
    "called, with a call that is not one": (
        body(chunk_of("Let me look."), chunk_of(tool_calls=None), ends("tool_calls")),
        [_NO_CALL, "answer: Let me look."],
    ),
    "called, in an answer that is not streamed": (
        whole({"content": "Let me look.", "tool_calls": []}, "tool_calls"),
        [_NO_CALL, "answer: Let me look."],
    ),
    "called, with a call in the text": (
        body(chunk_of('Let me.\n<tool_call>{"name": "look", "arguments": {}}</tool_call>'), ends("tool_calls")),
        ["thought: Let me.", "call: look {}"],
    ),
    "called, without a word": (body(ends("tool_calls")), [_NOTHING]),
    "called, with a thought alone": (
        body(chunk_of(reasoning_content="Hm"), ends("tool_calls")),
        ["thought so far: Hm", _NOTHING],
    ),
    **{f"cut: {reason}": (body(chunk_of("Half"), ends(reason)), ["answer so far: Half", _LENGTH]) for reason in CUT},
    **{
        f"withheld: {reason}": (body(chunk_of("Half"), ends(reason)), ["answer so far: Half", _WITHHELD])
        for reason in WITHHELD
    },
    **{
        f"other: {reason}": (body(chunk_of("Half"), ends(reason)), ["answer so far: Half", _other(reason)])
        for reason in OTHER
    },
    "the reason as an object": (
        body(chunk_of("Half"), ends({"type": "length", "length": 5})),
        ["answer so far: Half", _LENGTH],
    ),
    "the reason as Gemini spells it": (
        body(chunk_of("Half"), {"choices": [{"delta": {}, "finish_reason": None, "finishReason": "MAX_TOKENS"}]}),
        ["answer so far: Half", _LENGTH],
    ),
    "the reason as Gemini spells it, beside text": (
        body({"choices": [{"delta": {"content": "Half"}, "finishReason": "length"}]}),
        ["answer so far: Half", _LENGTH],
    ),
    "the reason within the delta": (
        body(chunk_of("Half"), {"choices": [{"delta": {"finish_reason": "length"}}]}),
        ["answer so far: Half", _LENGTH],
    ),
    "the reason in details": (
        body(chunk_of("Half"), {"choices": [{"delta": {}, "finish_details": {"type": "max_tokens"}}]}),
        ["answer so far: Half", _LENGTH],
    ),
    "the reason as Anthropic calls it": (
        body(chunk_of("Half"), {"choices": [{"delta": {}, "stop_reason": "max_tokens"}]}),
        ["answer so far: Half", _LENGTH],
    ),
    "the text that it stopped at": (body(chunk_of("Half"), ends("stop", stop_reason="length")), ["answer: Half"]),
    "no reason, and a text that it stopped at": (
        body(chunk_of("All"), {"choices": [{"delta": {}, "stop_reason": "###"}]}),
        ["answer: All"],
    ),
    "the provider's own reason beside the gateway's": (
        body(chunk_of("Half"), ends("stop", native_finish_reason="MAX_TOKENS")),
        ["answer so far: Half", _LENGTH],
    ),
    "the provider's own reason, which says nothing": (
        body(chunk_of("All"), ends("stop", native_finish_reason="completed_by_x")),
        ["answer: All"],
    ),
    "an error beside the end": (
        body(chunk_of("Half"), ends("error", error={"message": "Upstream went away", "code": 502})),
        ["answer so far: Half", "fails: The model server reported an error: Upstream went away"],
    ),
    "an error beside the last text": (
        body({"choices": [{"delta": {"content": "Half"}, "error": {"message": "Gone"}}]}),
        ["answer so far: Half", "fails: The model server reported an error: Gone"],
    ),
    "a call that the limit cut": (
        body(call('{"code": "6', name="python", id="a"), ends("length")),
        ['call: python {"code": "6', "fails: The model reached its length limit before it gave an answer."],
    ),
    "thoughts that the limit cut": (
        body(chunk_of(reasoning_content="Hm"), ends("length")),
        ["thought so far: Hm", "fails: The model reached its length limit before it gave an answer."],
    ),
    "an end beside each text": (
        body(ends("stop", "One"), ends("stop", " two"), ends("stop", " three")),
        ["answer: One two three"],
    ),
    "an end behind each text": (
        body(chunk_of("One"), ends(), chunk_of(" two"), ends(), chunk_of(" three"), ends()),
        ["answer: One two three"],
    ),
    "an end within a thought": (
        body(ends("stop", "<think>Hm"), ends("stop", " so"), ends("stop", "</think>Yes")),
        ["thought: Hm so", "answer: Yes"],
    ),
    "an end beside each piece of a call": (
        body(
            {
                "choices": [
                    {"delta": call("", name="python", id="a")["choices"][0]["delta"], "finish_reason": "tool_calls"}
                ]
            },
            {"choices": [{"delta": call('{"code":"1"}')["choices"][0]["delta"], "finish_reason": "tool_calls"}]},
        ),
        ['call: python {"code":"1"}'],
    ),
    "an end, then more, then nothing": (
        body(chunk_of("One"), ends(), chunk_of(" two"), done=False),
        ["answer so far: One two", _LOST],
    ),
    "an end, then white space": (body(chunk_of("One"), ends(), chunk_of("\n"), done=False), ["answer: One\n"]),
    "a bad end, then a good one": (
        body(chunk_of("Half"), ends("length"), ends("stop")),
        ["answer so far: Half", _LENGTH],
    ),
    "a bad end that isn't one": (
        body(chunk_of("One"), ends("length"), chunk_of(" two"), ends("stop")),
        ["answer: One two"],
    ),
    "no end but the stream's": (body(chunk_of("One"), chunk_of(" two")), ["answer: One two"]),
    "ends that say that there is none": (
        body(ends("null", "One"), ends("", " two"), ends("None", " three"), ends()),
        ["answer: One two three"],
    ),
    "neither an end nor the stream's": (body(chunk_of("One"), done=False), ["answer so far: One", _LOST]),
    "no end but an unstreamed answer's": (whole({"content": "All"}, None), ["answer: All"]),
    "an unstreamed answer that the limit cut": (whole({"content": "Half"}, "length"), ["answer so far: Half", _LENGTH]),
    "nothing at all": (body(), ["fails: The model returned an empty answer."]),
    "not even a stream": (b"", [_LOST]),
    "text behind the stream's end is none": (
        body(chunk_of("One"), ends()) + body(chunk_of(" two"), ends()),
        ["answer: One"],
    ),
}
