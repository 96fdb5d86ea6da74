"""Parses the refusals of model servers: the server's reason, in whatever format, and the protocol's error code for it.

Pure. `agents.models.adapting` decides what can be done about a refusal.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from agents.errors import ModelError
from agents.masking import mask_text
from agents.sentence import Sentence
from agents.text import clean_text

_LONGEST_REASON = 300
#: How many characters of a text are parsed: an error within a stream may have millions.
_LONGEST_TEXT = 8_192
#: Keys of texts for people, those nearest to the cause first.
_REASON_KEYS = (
    *("raw", "metadata", "error", "errors", "detail", "message", "msg", "error_message", "error_msg"),
    *("error_description", "details", "description", "title", "reason", "base_resp", "status_msg"),
    *("Message", "errorMessage", "err", "fault", "faultstring"),
)
#: Keys of codes for programs.
_CODE_KEYS = ("code", "type", "status", "param", "reason", "error_code")
#: Text around another server's message, which has no meaning itself.
_WRAPPERS = re.compile(
    r"^(provider returned error|upstream (error|request failed)|bad request|internal server error|unprocessable entity|error"
    r"|validation error|invalid request|(litellm\.)?\w*(error|exception):?)\.?$",
    re.IGNORECASE,
)
#: Terminal colours, control characters except white space, and characters that reverse text.
_UNSEEN = re.compile("\x1b\\[[0-9;]*[A-Za-z]|[\x00-\x08\x0e-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2060-\u2069\ufeff]")
#: Names of exceptions before their messages.
_CLASSES = re.compile(r"^(?:(?:litellm\.)?\w*(?:Error|Exception)(?::| -) ?)+")
_TITLE = re.compile(r"<title[^>]{0,200}>([^<]*)", re.IGNORECASE)
_XML_MESSAGE = re.compile(r"<message>([^<]{1,300})", re.IGNORECASE)
_MESSAGE = re.compile(r'"(?:message|msg|error|detail)"\s{0,9}:\s{0,9}"((?:[^"\\]|\\.){1,300})', re.IGNORECASE)
_KEY_MATTERS = re.compile(
    r"(?:api|subscription)[-_ ]?keys?\b|\bcredentials?\b|unauthori[sz]ed|authenticat|authori[sz]ation header|access[-_ ]token|bearer"
    r"|\binvalid[-_ ](token|key)|\b(token|key) (is |has |was )?(invalid|expired|revoked|disabled)|user not found|no auth",
    re.IGNORECASE,
)
_NO_CREDIT = re.compile(
    r"insufficient[-_ ](quota|balance|funds|credits?)|exceeded your current quota|billing|credit balance|out of credits?"
    r"|requires more credits|payment required|arrearage|余额不足",
    re.IGNORECASE,
)
_WITHHELD = re.compile(
    r"moderation|flagged|content[-_ ](filter|policy|management)|responsibleai|data[-_ ]?inspection|safety (system|filter|reasons)"
    r"|inappropriate content|content exists risk|considered high risk|usage (?:guidelines|polic)|prohibited[-_ ]content|new_sensitive"
    r"|blocked by .{0,40}guardrail|不安全或敏感|敏感内容|违规",
    re.IGNORECASE,
)
_TOO_MANY = re.compile(r"rate[-_ ]?limit|too many (requests|tokens)|requests per|tokens per|throttl", re.IGNORECASE)
_TRY_AGAIN = re.compile(
    r"(?:try again|retry|retry_delay|retrydelay)\W{1,4}(?:in|after)?\W{0,3}(?:(\d{1,3})h ?)?(?:(\d{1,4})m ?)?"
    r"(\d{1,9}(?:\.\d{1,9})?)\s?(ms|s)",
    re.IGNORECASE,
)
_TOO_LONG = re.compile(
    r"context[-_ ]?(length|size|window|limit)|max(imum)? context|context is full|exceeds? n_ctx|n_keep.{0,20}n_ctx"
    r"|exceeds? maximum allowed (token|length)|maximum (model|prompt|input) length"
    r"|(prompt|conversation|messages?)[ _](is |are )?too[ _]long|too many tokens in (the )?prompt|(prompt|input) tokens? limit exceeded"
    r"|too many input tokens|input is too long|input token count|model token limit|maximum number of tokens|max_model_len|exceed_context"
    r"|range of input length|max_prompt_tokens|tokens_limit_reached|max message tokens|tokens\) is too large to process"
    r"|(input|prompt|total|combined|sequence) length.{0,40}(exceeds?|longer than|greater than)\b"
    r"|messages\[\d+\]\.content\W.{0,20}string too long"
    r"|(tokens?|prompt|inputs?|messages?).{0,60}(must have less than|cannot exceed|must be <=|too large for model|exceeds? the (limit|max))"
    r"|(input|prompt|total|requested) tokens? exceed|tokens\).{0,20}exceeds? the model|exceeds? the model'?s (capacity|\d{1,9}-token)"
    r"|(conversation|prompt|input) is longer than|tokens?\b.{0,30} over the model'?s limit|request too large for model"
    r"|max_(seq_len|position_embeddings)|must be at least 1, got -\d|max input characters|最大输入长度|输入(内容|文本)?过长"
    r"|tokens? ?(数量|总数|长度)?(超过|超出|超限|超长)"
    r"|reduce the length of the (messages|prompt|input)|prompt ?超长|(输入|上下文).{0,12}(超过|超出|超长)",
    re.IGNORECASE,
)
#: How servers report the size limit of a request; thousands may be separated by commas.
_LIMITS = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\"?n_ctx\"?\s*[:=]\s*(\d[\d,]*)",
        r"\d ?> ?(\d[\d,]*)",
        r"(?:available |model'?s )?context (?:size|length|window)(?: of)?(?: only)?(?: is)?(?: limit)?\W{1,3}(\d[\d,]*)",
        r"(?:max(?:imum)?|model's) (?:model |prompt |input |context )?(?:length|context)(?: is| of)?(?: only)?\W{1,2}(\d[\d,]*)",
        r"only supports up to (\d[\d,]*)",
        r"(?:max_seq_len|max_position_embeddings|exceeded limit|longer than|exceeds maximum|最大输入长度为) ?(\d[\d,]*)",
        r"model's (?:limit \()?(\d[\d,]*)(?:\)|-token)",
        r"(?:max size|maximum is)\W{1,2}(\d[\d,]*)",
        r"超[过出]\D{0,12}(\d[\d,]*)",
        r"maximum number of tokens allowed\W{1,3}(\d[\d,]*)",
        r"with (\d[\d,]*) maximum context",
        r"> (\d[\d,]*) maximum",
        r"model token limit\W{1,3}(\d[\d,]*)",
        r"range of input length should be \[\d+, ?(\d[\d,]*)\]",
        r"(?:must have less than|cannot exceed|must be <=|limit (?:is|of)|maximum of) (\d[\d,]*)",
        r"context length of only (\d[\d,]*)",
        r"\blimit:? (\d[\d,]*),? requested",
        r"maximum allowed (?:length|token size)\W{1,2}(\d[\d,]*)",
    )
]
_COUNTS = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\"?n_prompt_tokens\"?\s*[:=]\s*(\d[\d,]*)",
        r"(?<![\d,])(\d[\d,]{0,14}) (?:input|prompt) tokens",
        r"(?<![\d,])(\d[\d,]{0,14}) ?> ?\d",
        r"(?:requested|resulted in|contains|given:|(?:request|input|count) \(|length|too long:|count (?:of|is))\s*(?:about )?\(?(\d[\d,]*)",
    )
]


class Refused(ModelError):
    """The model server answered with an error.

    ``words`` is everything that it says about the error, codes too, without what it repeats of the request; ``body`` is the whole
    answer.
    """

    def __init__(self, message: str, code: str, status: int, words: str, body: str) -> None:
        super().__init__(message, code)
        self.status = status
        self.words = words
        self.body = body


def explain_refusal(status: int, headers: Mapping[str, str], body: str, api_key: str) -> Refused:
    """The meaning of an answer with a status other than 200: determined by the body's reason, by the status only if there is none."""
    parsed = _parse(body)
    reason = "" if parsed is None else describe_error(parsed)
    words = f"{reason} {' '.join(_codes(parsed))}".strip()
    sentence, code = _classify(status, headers, words, is_reasoned=bool(reason))
    return Refused(with_reason(sentence, reason, api_key), code, status, words, body)


def explain_event(error: Any, api_key: str) -> Refused:
    """The meaning of an error within a stream, which some servers send instead of a status."""
    reason = describe_error(error)
    given = error.get("code") if isinstance(error, dict) else None
    status = given if isinstance(given, int) and 400 <= given < 600 else 400
    sentence = with_reason(Sentence("The model server reported an error"), reason, api_key)
    return Refused(sentence, "model_error", status, f"{reason} {' '.join(_codes(error))}".strip(), str(error))


def _classify(status: int, headers: Mapping[str, str], words: str, *, is_reasoned: bool) -> tuple[str, str]:
    if is_too_long(words):
        sentence = Sentence(
            "This is longer than the model can read; LLM_MAX_INPUT_TOKENS has to be below what it can (%(status)d)",
            status=status,
        )
        return sentence, "model_error"
    if status == 402 or (_NO_CREDIT.search(words) and not _wait(headers, words)):
        return Sentence("The model server's account has no credit left (%(status)d)", status=status), "model_error"
    if status == 429 or _TOO_MANY.search(words):
        wait = _wait(headers, words)
        sentence = Sentence("The model server has had too many requests (%(status)d)", status=status)
        again = _try_again(sentence, wait) if wait else Sentence("%(what)s. Try again in a while.", what=sentence)
        return again, "model_rate_limited"
    if _WITHHELD.search(words):
        return Sentence("The model's provider did not let this through (%(status)d)", status=status), "model_error"
    what, code = _classify_by_status(status, words, is_reasoned=is_reasoned)
    wait = _wait(headers, words) if status >= 500 else ""
    return (_try_again(what, wait) if wait else what), code


def _try_again(sentence: str, wait: str) -> Sentence:
    return Sentence("%(what)s. Try again in %(n)s s.", what=sentence, n=wait)


def _classify_by_status(status: int, words: str, *, is_reasoned: bool) -> tuple[str, str]:
    if (status in (400, 401, 403) and _KEY_MATTERS.search(words)) or (status == 401 and not is_reasoned):
        return Sentence("The model server did not accept the API key (%(status)d)", status=status), "model_auth"
    if status in (401, 403):
        return Sentence("The model server did not allow this (%(status)d)", status=status), "model_auth"
    if status in (404, 405):
        return Sentence(
            "The model server does not know this model or address (%(status)d)", status=status
        ), "model_error"
    if status >= 500:
        return Sentence("The model server failed (%(status)d)", status=status), "model_error"
    return Sentence("The model server refused the request (%(status)d)", status=status), "model_error"


def _wait(headers: Mapping[str, str], body: str) -> str:
    """After how many seconds the server wants to be asked again, as text; empty if it does not say so."""
    given = headers.get("retry-after", "")
    milliseconds = headers.get("retry-after-ms", "")
    if re.fullmatch(r"\d{1,9}", milliseconds):
        return f"{int(milliseconds) / 1000:g}"
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", given):
        return f"{float(given):g}"
    if later := _seconds_until(given, headers.get("date", "")):
        return str(later)
    found = _TRY_AGAIN.search(body)
    if found is None:
        return ""
    seconds = float(found[3]) / (1000 if found[4].lower() == "ms" else 1)
    return f"{int(found[1] or 0) * 3600 + int(found[2] or 0) * 60 + seconds:g}"


def _seconds_until(moment: str, now: str) -> int:
    """Seconds between two times of the server's clock, both as HTTP writes them; else 0."""
    try:
        return max(0, int((parsedate_to_datetime(moment) - parsedate_to_datetime(now)).total_seconds()))
    except (TypeError, ValueError, OverflowError):
        return 0


def is_too_long(body: str) -> bool:
    """Whether the refusal is about the request's length."""
    return _TOO_LONG.search(body) is not None


def was_withheld(words: str) -> bool:
    """Whether a provider's content filter has refused the request."""
    return _WITHHELD.search(words) is not None


def waits_for_time(words: str) -> bool:
    """Whether the refusal is about too many requests, without a size that a single request exceeds."""
    return _TOO_MANY.search(words) is not None and not find_limit(words)[0]


def find_limit(body: str) -> tuple[int, int]:
    """How many tokens a request may have and how many it had, as a refusal for its length reports; 0 if it does not."""
    return _number(_LIMITS, body), _number(_COUNTS, body)


def _number(patterns: list[re.Pattern[str]], text: str) -> int:
    found = next((match for pattern in patterns if (match := pattern.search(text))), None)
    return int(found[1].replace(",", "")) if found and len(found[1]) < 12 else 0


def with_reason(words: str, reason: str, api_key: str) -> str:
    """The text with the server's own reason, if there is one for people."""
    reason = hide_key(" ".join(_UNSEEN.sub("", clean_text(reason)).split()), api_key)
    if not reason or "Traceback" in reason:
        return words if words.endswith(".") else Sentence("%(what)s.", what=words)
    reason = reason if len(reason) <= _LONGEST_REASON else f"{reason[: _LONGEST_REASON - 1]}…"
    if words.endswith("."):
        return Sentence("%(what)s %(reason)s", what=words, reason=reason)
    return Sentence("%(what)s: %(reason)s", what=words, reason=reason)


def hide_key(text: str, secret: str) -> str:
    """The text without the secret, and without secrets in its addresses."""
    return mask_text(hide_secret(text, secret))


def hide_secret(text: str, secret: str) -> str:
    """The text without the secret."""
    return text.replace(secret, "…") if secret else text


def find_reason(body: str) -> str:
    """The innermost sentences for people in a server's error, several joined; empty if there are none.

    The error may be JSON in any of the common formats, JSON or a Python literal inside a sentence, text, or an HTML page.
    """
    return describe_error(_parse(body))


def describe_error(error: Any) -> str:
    """`find_reason` for parsed data."""
    found = "; ".join(dict.fromkeys(" ".join(sentence.split()) for sentence in _sentences(error)))
    if found or not isinstance(error, dict):
        return found
    # Some servers have only codes.
    return next((code for code in _codes(error) if not code.isdigit() and code.lower() != "error"), "")


def _parse(body: str) -> Any:
    """JSON parsed, an HTML page as its title, and anything else unchanged."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        if body.startswith(("{", "[")):  # cut off, or not valid JSON
            message = _MESSAGE.search(body[:_LONGEST_TEXT])
            return message[1].replace('\\"', '"') if message else body[:_LONGEST_REASON]
        if "<" not in body[:200]:
            return body
        found = _TITLE.search(body) or _XML_MESSAGE.search(body)
        return found[1] if found else ""


def _codes(error: Any, depth: int = 0) -> Iterator[str]:
    """Codes for programs: short words under well-known names."""
    if isinstance(error, str):
        error = _embedded(error[:_LONGEST_TEXT])
    if depth > 8 or not isinstance(error, dict | list):
        return
    for key, value in error.items() if isinstance(error, dict) else enumerate(error[:5]):
        if key in _CODE_KEYS and isinstance(value, str | int):
            yield str(value)[:100]
        elif key not in ("input", "body"):
            yield from _codes(value, depth + 1)


def _sentences(value: Any, depth: int = 0) -> Iterator[str]:
    if depth > 8:
        return
    if isinstance(value, str):
        value = value[:_LONGEST_TEXT]
        inner = _embedded(value)
        found = list(_sentences(inner, depth + 1)) if inner is not None else []
        plain = _CLASSES.sub("", value.strip()) or value.strip()
        yield from found or ([plain] if plain else [])
    elif isinstance(value, list):
        for one in value[:5]:
            yield from _sentences(one, depth + 1)
    elif isinstance(value, dict):
        yield from _in_mapping(value, depth)


def _in_mapping(error: dict[Any, Any], depth: int) -> Iterator[str]:
    if "msg" in error and "loc" in error:  # a validation error, field by field
        place = (
            ".".join(str(part) for part in error["loc"] if part != "body")
            if isinstance(error["loc"], list | tuple)
            else ""
        )
        yield f"{place}: {error['msg']}" if place else str(error["msg"])
        return
    kept = ""
    for key in _REASON_KEYS:
        if error.get(key):
            found = list(_sentences(error[key], depth + 1))
            meant = [sentence for sentence in found if not _WRAPPERS.match(sentence)]
            if meant:
                yield from meant
                return
            kept = kept or (found[0] if found else "")
    if kept:
        yield kept


def _embedded(text: str) -> Any:
    """The object in braces within a sentence, as JSON or as a Python literal; None if there is none."""
    at = re.search(r"[{\[]", text)
    if at is None:
        return None
    inner = text[at.start() : max(text.rfind("}"), text.rfind("]")) + 1]
    try:
        found = orjson.loads(inner)
    except orjson.JSONDecodeError:
        try:
            found = ast.literal_eval(inner)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return None
    first = found[0] if isinstance(found, list) and found else found
    return found if isinstance(first, dict) and _is_error(first) else None


def _is_error(found: dict[Any, Any]) -> bool:
    """Whether it is an error, not something that the error is about."""
    return bool(found.keys() & {"error", "errors", "detail", "loc"}) or (
        "message" in found and bool(found.keys() & {"code", "type", "status", "object", "param"})
    )
