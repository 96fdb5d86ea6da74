"""Finds and masks secrets in texts, for exports, logs, errors and descriptions.

Other people's keys are told by their shape, passwords and everything else by what stands before them. Each pattern takes time in
proportion to its text, whatever that holds: it begins with words of its own, and what follows is taken without trying again. (Of the
libraries, detect-secrets reads files line by line, tells values without their places and knows no cut text or escaped JSON.)
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from agents.addresses import mask_addresses

Kind = Literal["key", "token", "password", "private key"]


@dataclass(frozen=True, slots=True)
class Secret:
    """A span of a text that looks like a secret."""

    kind: Kind
    start: int
    end: int


def _shaped(prefix: str, rest: str) -> re.Pattern[str]:
    """A key that begins with these letters, at the beginning of a word. The letters come first, so that searching for them is fast."""
    return re.compile(rf"{re.escape(prefix)}(?<![A-Za-z0-9_-]{re.escape(prefix)}){rest}")


#: Keys of known services, by how they begin, and what follows.
_SHAPES: Mapping[str, tuple[Kind, str]] = {
    "sk-": ("key", "[A-Za-z0-9_-]{16,}+"),
    "sk_live_": ("key", "[A-Za-z0-9]{10,}+"),
    "sk_test_": ("key", "[A-Za-z0-9]{10,}+"),
    "rk_live_": ("key", "[A-Za-z0-9]{10,}+"),
    "rk_test_": ("key", "[A-Za-z0-9]{10,}+"),
    "AKIA": ("key", "[A-Z0-9]{16}(?![A-Za-z0-9])"),
    "ASIA": ("key", "[A-Z0-9]{16}(?![A-Za-z0-9])"),
    "AIza": ("key", "[A-Za-z0-9_-]{30,}+"),
    "GOCSPX-": ("key", "[A-Za-z0-9_-]{16,}+"),
    "ya29.": ("token", "[A-Za-z0-9_-]{20,}+"),
    **{f"gh{letter}_": ("token", "[A-Za-z0-9]{20,}+") for letter in "pousr"},
    "github_pat_": ("token", "[A-Za-z0-9_]{20,}+"),
    "glpat-": ("token", "[A-Za-z0-9_-]{16,}+"),
    **{f"xox{letter}-": ("token", "[A-Za-z0-9-]{10,}+") for letter in "abeoprs"},
    "xapp-": ("token", "[A-Za-z0-9-]{10,}+"),
    "hf_": ("token", "[A-Za-z0-9]{20,}+"),
    "npm_": ("token", "[A-Za-z0-9]{30,}+"),
    "pypi-": ("token", "[A-Za-z0-9_-]{30,}+"),
    "dop_v1_": ("token", "[a-f0-9]{40,}+"),
    "SG.": ("key", r"[A-Za-z0-9_-]{16,}+\.[A-Za-z0-9_-]{16,}+"),
    "whsec_": ("key", "[A-Za-z0-9+/=_-]{16,}+"),
    # Our own.
    "tk_": ("token", "[A-Za-z0-9_-]{20,}+"),
    "lk_": ("token", "[A-Za-z0-9_-]{20,}+"),
    "pr_": ("token", "[A-Za-z0-9_-]{20,}+"),
    # JSON Web Tokens: {" in Base64.
    "eyJ": ("token", r"[A-Za-z0-9_-]{8,}+\.[A-Za-z0-9_-]{8,}+(?:\.[A-Za-z0-9_-]*+)?"),
}
_SHAPED = {prefix: (kind, _shaped(prefix, rest)) for prefix, (kind, rest) in _SHAPES.items()}

_PEM_BEGINS = "-----BEGIN "
#: Also one that is cut, and one whose lines are escaped.
_PEM = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}+(?<=PRIVATE KEY)-----(?:[A-Za-z0-9+/=\s\\:,]|-(?!----))*+(?:-----END[A-Z0-9 ]{0,60}+-----)?"
    r"|-----BEGIN PGP PRIVATE KEY BLOCK-----(?:[A-Za-z0-9+/=\s\\:,.()]|-(?!----))*+(?:-----END[A-Z0-9 ]{0,60}+-----)?"
)

_IN_ADDRESS = re.compile(r"""://[^\s/:@?\#"'<>\\]{0,256}+:(?P<secret>[^\s/@"'<>\\]{1,256}+)@""")

#: Names of values that are always a password, and names of values that are one if they look random.
_PASSWORDS = ("password", "passwd", "passphrase", "passcode", "pwd", "密碼", "密码", "口令")
_NAMES = (
    "secret",
    "token",
    "api_key",
    "api-key",
    "apikey",
    "api key",
    "access_key",
    "access-key",
    "accesskey",
    "private_key",
    "private-key",
    "account_key",
    "accountkey",
    "auth_key",
    "encryption_key",
    "signing_key",
    "credential",
    "sessionid",
    "csrftoken",
    "cookie",
    "金鑰",
    "密鑰",
    "密钥",
)
_SCHEMES = ("bearer", "basic", "authorization")


def _any_of(words: tuple[str, ...]) -> str:
    return "|".join(map(re.escape, words))


#: A name, with what else belongs to it, a sign that its value follows, and the value: between quotes, also escaped ones, or up to a blank.
_NAMED = re.compile(
    rf"(?i:(?P<password>{_any_of(_PASSWORDS)})|{_any_of(_NAMES)})[A-Za-z0-9_-]{{0,20}}+"
    r"""[\\"']{0,4}+[\ \t]{0,4}+(?::=|=>|[:：=])[\ \t]{0,4}+"""
    r"""(?:(?P<quote>\\{0,3}["'])(?P<quoted>(?:(?!(?P=quote))[^\r\n]){1,500}+)|(?P<bare>[^\s"'\\,;&<>(){}\[\]`，。；]{1,500}+))"""
)
_NAME = re.compile(rf"(?i)(?P<password>{_any_of(_PASSWORDS)})|{_any_of((*_NAMES, 'authorization'))}")
_AUTHORIZED = re.compile(
    r"""(?i:authorization[\\"']{0,4}+[\ \t]{0,4}+[:=][\ \t]{0,4}+[\\"']{0,4}+)"""
    r"""(?i:(?:bearer|basic|token|digest|apikey|negotiate)[\ \t]{1,4}+)?+(?P<secret>[^\s"'\\,;<>\[\]]{6,500}+)"""
)
_BEARER = re.compile(r"(?i:bearer|basic)[\ \t]{1,4}+(?P<secret>(?=[^\s\d]{0,64}\d)[A-Za-z0-9+/=._~-]{12,}+)")
#: Values that refer to a secret elsewhere, or to none.
_PLACEHOLDER = re.compile(
    r"(?i)[*•.x…_-]+|<.*|\$.*|%.*|\{.*|\[.*|env:.*|os\.environ.*|process\.env.*|none|null|true|false|undefined|required|optional|string|str"
)


def find_secrets(text: str) -> list[Secret]:
    """The spans of probable secrets, in order; they do not overlap."""
    found = sorted(_all(text), key=lambda secret: (secret.start, -secret.end))
    kept: list[Secret] = []
    for secret in found:
        if not kept or secret.start >= kept[-1].end:
            kept.append(secret)
        elif secret.end > kept[-1].end:
            kept[-1] = Secret(kept[-1].kind, kept[-1].start, secret.end)
    return kept


def _all(text: str) -> Iterator[Secret]:
    for prefix, (kind, pattern) in _SHAPED.items():
        if prefix in text:
            yield from (Secret(kind, *match.span()) for match in pattern.finditer(text))
    if _PEM_BEGINS in text:
        yield from (Secret("private key", *match.span()) for match in _PEM.finditer(text))
    if "://" in text and "@" in text:
        yield from (Secret("password", *match.span("secret")) for match in _IN_ADDRESS.finditer(text))
    lower = text.lower()
    if any(word in lower for word in _SCHEMES):
        for pattern in (_AUTHORIZED, _BEARER):
            yield from (Secret("token", *match.span("secret")) for match in pattern.finditer(text))
    if any(word in lower for word in (*_PASSWORDS, *_NAMES)):
        yield from _named(text)


def _named(text: str) -> Iterator[Secret]:
    for match in _NAMED.finditer(text):
        group = "quoted" if match["quoted"] is not None else "bare"
        value, (start, end) = match[group], match.span(group)
        if group == "bare":
            end -= len(value) - len(value.rstrip(".!?"))
            value = value.rstrip(".!?")
        if is_secret_value(value, is_password=match["password"] is not None):
            yield Secret("password" if match["password"] else "token", start, end)


def is_secret_value(value: str, *, is_password: bool) -> bool:
    """Whether a value after such a name is a secret: any value of a password, else one that looks random."""
    if _PLACEHOLDER.fullmatch(value) or value.startswith("[hidden "):
        return False
    return len(value) >= 3 if is_password else _looks_random(value)


def _looks_random(value: str) -> bool:
    if len(value) < 8 or any(char.isspace() for char in value):
        return False
    has_digit, has_letter = any(map(str.isdigit, value)), any(map(str.isalpha, value))
    if has_digit and has_letter:
        return True
    counts = Counter(value)
    bits = -sum(count / len(value) * math.log2(count / len(value)) for count in counts.values())
    return len(value) >= 20 and bits > 3.5


def may_hold_secret(text: str) -> bool:
    """A quick check: False where nothing in the text, or in JSON of it, can be a secret."""
    if any(prefix in text for prefix in _SHAPED) or _PEM_BEGINS in text or ("://" in text and "@" in text):
        return True
    lower = text.lower()
    return any(word in lower for word in (*_SCHEMES, *_PASSWORDS, *_NAMES))


def placeholder_for(kind: Kind) -> str:
    """What replaces a secret."""
    return f"[hidden {kind}]"


def mask_secrets(text: str) -> str:
    """The text with each secret replaced."""
    return mask_with_places(text)[0]


def mask_with_places(text: str) -> tuple[str, list[Secret]]:
    """As `mask_secrets`, with the positions of the replacements in the masked text."""
    secrets = find_secrets(text)
    if not secrets:
        return text, []
    parts: list[str] = []
    masked: list[Secret] = []
    length, end = 0, 0
    for secret in secrets:
        before, placeholder = text[end : secret.start], placeholder_for(secret.kind)
        masked.append(Secret(secret.kind, length + len(before), length + len(before) + len(placeholder)))
        parts += (before, placeholder)
        length += len(before) + len(placeholder)
        end = secret.end
    return "".join((*parts, text[end:])), masked


def name_kind(name: str) -> Kind | None:
    """The kind of secret that a JSON field's name stands for; None if it stands for none."""
    match = _NAME.search(name)
    return None if match is None else "password" if match["password"] else "token"


def mask_text(text: str) -> str:
    """A text for logs, errors and descriptions: without secrets, and with nothing of each address but its host."""
    return mask_secrets(mask_addresses(text))
