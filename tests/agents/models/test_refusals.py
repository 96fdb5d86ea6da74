"""Errors of model servers, in the formats in which they send them, and how they are classified. A further case is one line."""

import json
from typing import Any

import pytest

from agents.models.refusals import explain_refusal, find_limit, is_too_long

KEY = "sk-very-secret"


def err(message: str, **more: Any) -> str:
    """An error in OpenAI's format."""
    return json.dumps({"error": {"message": message, **more}})


REFUSED = "The model server refused the request"
FAILED = "The model server failed"
NO_CREDIT = "The model server's account has no credit left"
WITHHELD = "The model's provider did not let this through"
NOT_ALLOWED = "The model server did not allow this"
BAD_KEY = "The model server did not accept the API key"
BUSY = "The model server has had too many requests"
TOO_LONG = "This is longer than the model can read; LLM_MAX_INPUT_TOKENS has to be below what it can"
UNKNOWN = "The model server does not know this model or address"

#: Status, body, the code in the protocol, all its words.
REFUSALS: list[tuple[int, str, str, str]] = [
    # Formats
    (400, err("No such thing."), "model_error", f"{REFUSED} (400): No such thing."),
    (400, '{"error": "No such thing."}', "model_error", f"{REFUSED} (400): No such thing."),
    (
        400,
        '{"object": "error", "message": "No such thing.", "code": 40001}',
        "model_error",
        f"{REFUSED} (400): No such thing.",
    ),
    (400, '{"detail": "No such thing."}', "model_error", f"{REFUSED} (400): No such thing."),
    (
        422,
        '{"detail": [{"loc": ["body", "messages", 0, "content"], "msg": "Field required", "type": "missing", "input": {"a": "quota"}}]}',
        "model_error",
        f"{REFUSED} (422): messages.0.content: Field required",
    ),
    (
        422,
        '{"detail": [{"loc": ["body", "a"], "msg": "Bad a"}, {"loc": ["body", "b"], "msg": "Bad b"}]}',
        "model_error",
        f"{REFUSED} (422): a: Bad a; b: Bad b",
    ),
    (
        400,
        """{"object": "error", "message": "[{'type': 'extra_forbidden', 'loc': ('body', 'x'), 'msg': 'Extra inputs'}]", "code": 400}""",
        "model_error",
        f"{REFUSED} (400): x: Extra inputs",
    ),
    (
        400,
        err("Provider returned error", code=400, metadata={"raw": err("Only one image."), "provider_name": "Crucible"}),
        "model_error",
        f"{REFUSED} (400): Only one image.",
    ),
    (
        502,
        err("Provider returned error", metadata={"raw": "upstream is down"}),
        "model_error",
        f"{FAILED} (502): upstream is down",
    ),
    (
        502,
        err("Provider returned error", metadata={"raw": {"error": {"message": "no"}}}),
        "model_error",
        f"{FAILED} (502): no",
    ),
    (502, err("Provider returned error"), "model_error", f"{FAILED} (502): Provider returned error"),
    (
        400,
        '[{"error": {"code": 400, "message": "Please use a valid role.", "status": "INVALID_ARGUMENT"}}]',
        "model_error",
        f"{REFUSED} (400): Please use a valid role.",
    ),
    (
        500,
        err(
            "litellm.BadRequestError: OpenAIException - Error code: 400 - {'error': {'message': \"It isn't so.\", 'type': 'x'}}"
        ),
        "model_error",
        f"{FAILED} (500): It isn't so.",
    ),
    (
        500,
        err(f"Error from provider(404): {err('No such model.', code=404)}"),
        "model_error",
        f"{FAILED} (500): No such model.",
    ),
    (
        400,
        '{"errors": [{"code": 7003, "message": "No route."}, {"message": "Nor this."}]}',
        "model_error",
        f"{REFUSED} (400): No route.; Nor this.",
    ),
    (
        400,
        '{"title": "Bad Request", "detail": "It is off.", "status": 400}',
        "model_error",
        f"{REFUSED} (400): It is off.",
    ),
    (400, '{"error": {"message": {"error": {"message": "Deep."}}}}', "model_error", f"{REFUSED} (400): Deep."),
    (503, "no healthy upstream", "model_error", f"{FAILED} (503): no healthy upstream"),
    (
        502,
        "<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>",
        "model_error",
        f"{FAILED} (502): 502 Bad Gateway",
    ),
    (503, "<h1>Down</h1>", "model_error", f"{FAILED} (503)."),
    (500, "", "model_error", f"{FAILED} (500)."),
    (500, "{}", "model_error", f"{FAILED} (500)."),
    (500, '{"error": null}', "model_error", f"{FAILED} (500)."),
    (500, err("Traceback (most recent call last): x"), "model_error", f"{FAILED} (500)."),
    (500, err("x" * 400), "model_error", f"{FAILED} (500): {'x' * 299}…"),
    (500, err("\x1b[31mred\x1b[0m \u202etxt\u200b\x07"), "model_error", f"{FAILED} (500): red txt"),
    (400, '"Bad."', "model_error", f"{REFUSED} (400): Bad."),
    (400, "[]", "model_error", f"{REFUSED} (400)."),
    (400, '{"error": {"message": ["Bad a", "Bad b"]}}', "model_error", f"{REFUSED} (400): Bad a; Bad b"),
    (
        400,
        '{"message": {"detail": [{"type": "missing", "loc": ["body"], "msg": "Field required"}]}}',
        "model_error",
        f"{REFUSED} (400): Field required",
    ),
    (400, '{"code": 20012, "message": "No model.", "data": null}', "model_error", f"{REFUSED} (400): No model."),
    (424, '{"error": "Model too busy", "error_type": "overloaded"}', "model_error", f"{REFUSED} (424): Model too busy"),
    (
        529,
        '{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}',
        "model_error",
        f"{FAILED} (529): Overloaded",
    ),
    (403, "<!DOCTYPE html><title>Just a moment...</title>", "model_auth", f"{NOT_ALLOWED} (403): Just a moment..."),
    (524, "error code: 524", "model_error", f"{FAILED} (524): error code: 524"),
    (
        401,
        err("Access denied due to invalid subscription key.", code="401"),
        "model_auth",
        f"{BAD_KEY} (401): Access denied due to invalid subscription key.",
    ),
    (404, "404 page not found", "model_error", f"{UNKNOWN} (404): 404 page not found"),
    (500, err("a\n  b\x00"), "model_error", f"{FAILED} (500): a b\ufffd"),
    (500, err(f"key {KEY} is here"), "model_error", f"{FAILED} (500): key … is here"),
    (
        500,
        err('error parsing tool call: raw=\'{"message": "hi"}\''),
        "model_error",
        FAILED + ' (500): error parsing tool call: raw=\'{"message": "hi"}\'',
    ),
    (
        401,
        err("litellm.AuthenticationError: AuthenticationError: OpenAIException - Incorrect API key."),
        "model_auth",
        f"{BAD_KEY} (401): Incorrect API key.",
    ),
    (500, err("ValueError: "), "model_error", f"{FAILED} (500): ValueError:"),
    (400, '{"error_code": 17, "error_msg": "No such thing."}', "model_error", f"{REFUSED} (400): No such thing."),
    (
        400,
        '{"__type": "ValidationException", "Message": "No such thing."}',
        "model_error",
        f"{REFUSED} (400): No such thing.",
    ),
    (400, '{"errorMessage": "No such thing."}', "model_error", f"{REFUSED} (400): No such thing."),
    (400, '{"err": "No such thing."}', "model_error", f"{REFUSED} (400): No such thing."),
    (
        400,
        '{"fault": {"faultstring": "No such thing.", "detail": {}}}',
        "model_error",
        f"{REFUSED} (400): No such thing.",
    ),
    (
        403,
        "<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>",
        "model_auth",
        f"{NOT_ALLOWED} (403): Access Denied",
    ),
    # A truncated error that quotes a request about something else
    (
        422,
        '{"detail": [{"loc": ["body", "x"], "msg": "Extra inputs", "input": "the context length does not support tools',
        "model_error",
        f"{REFUSED} (422): Extra inputs",
    ),
    (400, '{"error": {"message": "He said \\"no\\".", "input": "a', "model_error", f'{REFUSED} (400): He said "no".'),
    # Codes without text
    (404, '{"error": {"code": "model_not_found"}}', "model_error", f"{UNKNOWN} (404): model_not_found"),
    (529, '{"error": {"message": "", "type": "overloaded_error"}}', "model_error", f"{FAILED} (529): overloaded_error"),
    (400, '{"error": {"message": null, "code": 400, "type": "error"}}', "model_error", f"{REFUSED} (400)."),
    (401, '{"error": {"type": "authentication_error"}}', "model_auth", f"{BAD_KEY} (401): authentication_error"),
    # Errors about the key, and errors that only mention it
    (401, "", "model_auth", f"{BAD_KEY} (401)."),
    (401, err("Incorrect API key provided."), "model_auth", f"{BAD_KEY} (401): Incorrect API key provided."),
    (401, err("No auth credentials found"), "model_auth", f"{BAD_KEY} (401): No auth credentials found"),
    (401, err("User not found."), "model_auth", f"{BAD_KEY} (401): User not found."),
    (401, '{"detail": "Unauthorized"}', "model_auth", f"{BAD_KEY} (401): Unauthorized"),
    (401, err("This region is closed."), "model_auth", f"{NOT_ALLOWED} (401): This region is closed."),
    (400, err("API key not valid.", status="INVALID_ARGUMENT"), "model_auth", f"{BAD_KEY} (400): API key not valid."),
    (403, "", "model_auth", f"{NOT_ALLOWED} (403)."),
    (
        403,
        err("Country, region, or territory not supported"),
        "model_auth",
        f"{NOT_ALLOWED} (403): Country, region, or territory not supported",
    ),
    (403, err("The API key has expired."), "model_auth", f"{BAD_KEY} (403): The API key has expired."),
    # Moderation
    (
        403,
        err("m requires moderation. Your input was flagged", metadata={"reasons": ["x"]}),
        "model_error",
        f"{WITHHELD} (403): m requires moderation. Your input was flagged",
    ),
    (
        400,
        err("The response was filtered.", code="content_filter", innererror={"code": "ResponsibleAIPolicyViolation"}),
        "model_error",
        f"{WITHHELD} (400): The response was filtered.",
    ),
    (
        400,
        '{"code": "DataInspectionFailed", "message": "Input data may contain inappropriate content."}',
        "model_error",
        f"{WITHHELD} (400): Input data may contain inappropriate content.",
    ),
    # Credit, and too many requests
    (
        429,
        err("You exceeded your current quota, please check your plan.", code="insufficient_quota"),
        "model_error",
        f"{NO_CREDIT} (429): You exceeded your current quota, please check your plan.",
    ),
    (402, '{"error": {"message": "Insufficient Balance"}}', "model_error", f"{NO_CREDIT} (402): Insufficient Balance"),
    (402, "", "model_error", f"{NO_CREDIT} (402)."),
    (
        400,
        err("Your credit balance is too low to access the API."),
        "model_error",
        f"{NO_CREDIT} (400): Your credit balance is too low to access the API.",
    ),
    (
        200,
        '{"choices": null, "base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}',
        "model_error",
        f"{NO_CREDIT} (200): insufficient balance",
    ),
    (429, "", "model_rate_limited", f"{BUSY} (429). Try again in a while."),
    (429, err("Rate limit reached."), "model_rate_limited", f"{BUSY} (429). Try again in a while. Rate limit reached."),
    (
        429,
        err("You exceeded your current quota. Please retry in 34.5s."),
        "model_rate_limited",
        f"{BUSY} (429). Try again in 34.5 s. You exceeded your current quota. Please retry in 34.5s.",
    ),
    (
        413,
        err("Request too large: tokens per minute (TPM): Limit 6000"),
        "model_rate_limited",
        f"{BUSY} (413). Try again in a while. Request too large: tokens per minute (TPM): Limit 6000",
    ),
    (
        429,
        err("Rate limit reached. Please try again in 1m2.5s."),
        "model_rate_limited",
        f"{BUSY} (429). Try again in 62.5 s. Rate limit reached. Please try again in 1m2.5s.",
    ),
    (
        429,
        err("Please try again in 500ms."),
        "model_rate_limited",
        f"{BUSY} (429). Try again in 0.5 s. Please try again in 500ms.",
    ),
    # Not found, and too long
    (405, '{"detail": "Method Not Allowed"}', "model_error", f"{UNKNOWN} (405): Method Not Allowed"),
    (404, err("The model `m` does not exist"), "model_error", f"{UNKNOWN} (404): The model `m` does not exist"),
    (404, "", "model_error", f"{UNKNOWN} (404)."),
    (
        400,
        err("This model's maximum context length is 4096 tokens."),
        "model_error",
        f"{TOO_LONG} (400): This model's maximum context length is 4096 tokens.",
    ),
]


@pytest.mark.parametrize(
    ("status", "body", "code", "words"), REFUSALS, ids=[f"{row[0]}-{at}" for at, row in enumerate(REFUSALS)]
)
def test_the_reason_decides(status: int, body: str, code: str, words: str) -> None:
    refusal = explain_refusal(status, {}, body, KEY)
    assert (str(refusal), refusal.code) == (words, code)


@pytest.mark.parametrize(
    ("headers", "hint"),
    [
        ({"retry-after": "7"}, "Try again in 7 s."),
        ({"retry-after": "0.5"}, "Try again in 0.5 s."),
        ({"retry-after": "9" * 400}, "Try again in a while."),
        ({"retry-after": "Fri, 31 Dec 2027 23:59:59 GMT"}, "Try again in a while."),
        (
            {"retry-after": "Fri, 31 Dec 2027 23:59:59 GMT", "date": "Fri, 31 Dec 2027 23:59:29 GMT"},
            "Try again in 30 s.",
        ),
        ({"retry-after": "Fri, 31 Dec 2027 23:59:59 GMT", "date": "Fri, 31 Dec 2027 23:59:59 GMT"}, "in a while."),
        ({"retry-after": "Fri, 31 Dec 2027 23:59:59 GMT", "date": "Sat, 1 Jan 2028 00:00:00 GMT"}, "in a while."),
        ({"retry-after": "Fri, 31 Dec 99999 23:59:59 GMT", "date": "yesterday"}, "in a while."),
        ({"retry-after": "Fri, 31 Dec 2027 23:59:59 GMT", "date": "Fri, 31 Dec 2027 23:59:29"}, "in a while."),
    ],
)
def test_when_to_come_back_is_told(headers: dict[str, str], hint: str) -> None:
    assert hint in str(explain_refusal(429, headers, "", ""))


@pytest.mark.parametrize(("status", "verb"), [(503, FAILED), (529, FAILED), (429, BUSY)])
@pytest.mark.parametrize("headers", [{"retry-after": "1.5"}, {"retry-after-ms": "1500"}])
def test_when_to_come_back_is_told_whatever_the_status(status: int, verb: str, headers: dict[str, str]) -> None:
    expected = f"{verb} ({status}). Try again in 1.5 s. Overloaded."
    assert str(explain_refusal(status, headers, err("Overloaded."), "")) == expected


#: Errors about the length: the limit, and the size of the request, as far as they are named.
TOO_MUCH: list[tuple[str, int, int]] = [
    ("This model's maximum context length is 4096 tokens. However, your messages resulted in 5000 tokens.", 4096, 5000),
    (
        "This model's maximum context length is 4,096 tokens. However, you requested 5,000 tokens (4000 in the messages)",
        4096,
        5000,
    ),
    ("This endpoint's maximum context length is 32768 tokens. However, you requested about 40000 tokens", 32768, 40000),
    (
        '{"message": "the request exceeds the available context size.", "n_prompt_tokens": 1407, "n_ctx": 256}',
        256,
        1407,
    ),
    ("request (5000 tokens) exceeds the available context size (4096 tokens), try increasing it", 4096, 5000),
    ("The input (5000 tokens) is longer than the model's context length (4096 tokens).", 4096, 5000),
    ("The decoder prompt (length 5000) is longer than the maximum model length of 4096.", 4096, 5000),
    (
        "Prompt contains 40000 tokens and 0 draft tokens, too large for model with 32768 maximum context length",
        32768,
        40000,
    ),
    ("prompt is too long: 210000 tokens > 200000 maximum", 200000, 210000),
    ("The input token count (1100000) exceeds the maximum number of tokens allowed (1048576).", 1048576, 1100000),
    ("Range of input length should be [1, 30720]", 30720, 0),
    ("Invalid request: Your request exceeded model token limit: 8192", 8192, 0),
    ("`inputs` must have less than 4095 tokens. Given: 5000", 4095, 5000),
    ("This model's maximum prompt length is 131072 but the request contains 140000 tokens.", 131072, 140000),
    (
        "Trying to keep the first 5000 tokens. However, the model is loaded with context length of only 4096 tokens",
        4096,
        0,
    ),
    ("too many tokens: total number of tokens in the prompt cannot exceed 4081", 4081, 0),
    ("Please reduce the length of the messages or completion.", 0, 0),
    ("Input length (5000 tokens) exceeds the maximum allowed length (4096 tokens). Use a shorter input.", 4096, 5000),
    ("Input length 5000 exceeds maximum allowed token size 4096", 4096, 5000),
    ("Input is too long for requested model.", 0, 0),
    ("llama_tokenize: too many tokens. Requested tokens (757) exceed context window of 512", 512, 0),
    ("You passed 5001 input tokens and requested 100 output tokens. However, the model's context length is only 4096", 4096, 5001),
    ("This model's maximum context length is 4096 tokens. However, your request has 5000 input tokens.", 4096, 5000),
    ("'max_tokens' is too large: 10000. This model's maximum context length is 8192 tokens (10000 > 8192 - 5000).", 8192, 10000),
    ("The input is longer than the model's context length: 5000 > 4096", 4096, 5000),
    ("input (5000 tokens) is too large to process. increase the physical batch size (current batch size: 512)", 0, 5000),
    ("Total tokens of image and text exceed max message tokens", 0, 0),
    ("Prompt tokens limit exceeded: 5000 > 4096", 4096, 5000),
    ("input length and `max_tokens` exceed context limit: 198000 + 8000 > 200000", 200000, 8000),
    ("Too many tokens in prompt. Maximum is 4096.", 4096, 0),
    ("The total length of input and output exceeds the model limit, input length 5000", 0, 5000),
    ("tokens in the request 5000 exceeded the model's max context 4096", 4096, 0),
    ("输入长度超过模型最大限制 4096", 4096, 0),
    ("Prompt 超长，请减少输入内容", 0, 0),
    ("the input token count is 40000 but model only supports up to 32767. Reduce the input token count", 32767, 40000),
    ("messages.3: message too long: 5000 > 4096", 4096, 5000),
    ("Conversation too long for the model", 0, 0),
    ("tokens_limit_reached: Request body too large for gpt-4o model. Max size: 8000 tokens.", 8000, 0),
    ("prompt token count of 5000 exceeds the limit of 4096", 4096, 5000),
    ("max_prompt_tokens exceeded", 0, 0),
    ("n_keep >= n_ctx (5000 >= 4096)", 0, 0),
    ("cannot keep 5000 tokens when context is full", 0, 0),
    ("slot context shift is disabled, request exceeds n_ctx", 0, 0),
    ("max_tokens must be at least 1, got -904.", 0, 0),
    ("Prompt length 9000 is greater than max_seq_len 8192", 8192, 9000),
    ("token 数量超过上限 8192", 8192, 0),
    ("tokens 总数超出限制(8192)", 8192, 0),
    ("the max input characters is 11200", 0, 0),
    ("Prompt tokens exceeded limit 8192", 8192, 0),
    ("Input tokens exceed the configured limit of 272000 tokens. Your messages resulted in 280000 tokens.", 272000, 280000),
    ("Conversation is longer than 8192 tokens", 8192, 0),
    ("input_tokens (9000) + max_new_tokens (1000) > max_position_embeddings 8192", 8192, 0),
    ("The total number of tokens (9000) is over the model's limit of 8192", 8192, 0),
    ("Sequence length 9000 exceeds maximum 8192", 8192, 9000),
    ("Token indices sequence length is longer than the specified maximum sequence length for this model (9000 > 8192)", 8192, 9000),
    ("request (9000 tokens) exceeds the model's limit (8192)", 8192, 9000),
    ("prompt_too_long", 0, 0),
    ("request too large for model: limit 6000, requested 9000", 6000, 9000),
    ("This request would exceed the model's 8192-token window", 8192, 0),
    ("最大输入长度为8192", 8192, 0),
    ("输入内容过长", 0, 0),
    ("The prompt exceeds the model's capacity", 0, 0),
    ("Invalid 'messages[1].content': string too long. Expected a string with maximum length 1048576", 1048576, 1048576),
]  # fmt: skip


@pytest.mark.parametrize(("words", "limit", "count"), TOO_MUCH, ids=[row[0][:40] for row in TOO_MUCH])
def test_a_refusal_for_length_is_known_and_names_its_limit(words: str, limit: int, count: int) -> None:
    assert is_too_long(words)
    assert find_limit(words) == (limit, count)


@pytest.mark.parametrize(
    "words",
    [
        "Rate limit reached",
        "max_tokens must be at least 1",
        "Failed to parse tool call arguments as JSON",
        "Invalid token",
        "No such model",
        "Image size exceeds the maximum length of 20MB",
        "messages: array too long. Expected an array with maximum length 128",
        "tools: array too long. Expected an array with maximum length 128, but got 140 instead.",
        "Invalid 'tools[0].function.description': string too long. Expected a string with maximum length 1024",
        "Invalid 'messages[3].tool_calls[0].id': string too long. Expected a string with maximum length 40",
        "Request-URI Too Long",
        "You must reduce max_tokens",
        "Your requests exceed the limit per minute",
        "The model's limit of 5 requests is reached",
        "top_logprobs must be at least 1, got 0",
    ],
)
def test_other_refusals_are_not_for_length(words: str) -> None:
    assert not is_too_long(words)
