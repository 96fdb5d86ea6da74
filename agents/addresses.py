"""Web addresses as text: normalized, found in texts, and masked for people and models."""

import ipaddress
import re
from collections.abc import Iterator
from itertools import islice
from urllib.parse import SplitResult, quote, urlsplit

from yarl import URL

DEFAULT_PORTS = {"http": 80, "https": 443}
LONGEST = 4_000

_IN_BRACKETS = re.compile(r"(?:^|@)\[[^\[\]@]*\](?::\d*)?$")
_UNUSABLE = re.compile(r"[\x00-\x20\x7f\\]")
_PATH_SAFE = "/%:@!$&'()*+,;=~-._"
_QUERY_SAFE = "/?%:@!$&()*+,;=~-._"
_ANY_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]{1,20}://[^\s<>\"'“”‘’`]+", re.IGNORECASE)
#: Characters other than spaces that end an address in running text.
_STOPS = "。，、！？；：）」』】》〉…"
_IN_TEXT = re.compile(rf"https?://[^\s<>\"“”‘’`{_STOPS}]{{1,{LONGEST}}}", re.IGNORECASE)
_BARE = re.compile(
    rf"(?<![\w@/.:-])(?:[\w-]{{1,63}}\.){{1,8}}[a-z]{{2,24}}(?::\d{{1,5}})?(?:/[^\s<>\"“”‘’`{_STOPS}]{{0,{LONGEST}}})?(?![\w@])",
    re.IGNORECASE,
)
_TRAILING = ".,;:!?'*_~|"
_MOST_ENDS = 4


class BadAddress(ValueError):
    """Not the address of a web page. The message says why, as a sentence."""


def split_address(url: str) -> tuple[SplitResult, str, int]:
    """The parts, host and port of a web address; the host in the one form that is resolved, requested and checked.

    Raises `BadAddress`.
    """
    if len(url) > LONGEST or _UNUSABLE.search(url):
        raise BadAddress("This is not a valid web address.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadAddress("This is not a valid web address.") from error
    if parts.scheme not in DEFAULT_PORTS:
        raise BadAddress("Only http:// and https:// addresses can be read.")
    # Python takes what is in brackets for the host, whatever stands before or after them.
    if "[" in parts.netloc and not _IN_BRACKETS.search(parts.netloc):
        raise BadAddress("This is not a valid web address.")
    if parts.username is not None or parts.password is not None:
        raise BadAddress("Addresses with a user name or password in them are not read.")
    return parts, _host(parts), port if port is not None else DEFAULT_PORTS[parts.scheme]


def plain_ipv6(text: str) -> str | None:
    """The normal form of an IPv6 address, as browsers write it, and its zone; with or without brackets. None if it is none."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return str(ipaddress.IPv6Address(bare.replace("%25", "%")))
    except ValueError:
        return None


def _host(parts: SplitResult) -> str:
    host = (parts.hostname or "").rstrip(".")
    if not host or "%" in host:
        raise BadAddress("This is not a valid web address.")
    if ":" in host:
        try:
            return str(ipaddress.IPv6Address(host))
        except ValueError as error:
            raise BadAddress("This is not a valid web address.") from error
    try:
        # Python's own way to write international names is an older one: it makes "ss" of "ß", which is another host to everybody else.
        host = (_as_asked(host) or "").rstrip(".").encode("idna").decode("ascii")
    except (UnicodeError, ValueError) as error:
        raise BadAddress("This is not a valid web address.") from error
    if not host:
        raise BadAddress("This is not a valid web address.")
    # What ends in a number is an address to a browser: 2130706433, 0x7f.1 and 0177.0.0.1 are spellings of 127.0.0.1.
    if re.fullmatch(r"\d+|0x[0-9a-f]*", host.rpartition(".")[2].lower()):
        try:
            ipaddress.IPv4Address(host)
        except ValueError as error:
            raise BadAddress("Write an IP address as four decimal numbers.") from error
    return host


def _as_asked(host: str) -> str | None:
    """The host as those have it who connect to it."""
    return host if host.isascii() else URL.build(scheme="https", host=host).raw_host


def host_and_port(scheme: str, host: str, port: int) -> str:
    """Host and port as in an address and in a ``Host`` header."""
    shown = f"[{host}]" if ":" in host else host
    return shown if port == DEFAULT_PORTS.get(scheme) else f"{shown}:{port}"


def request_target(parts: SplitResult) -> str:
    """Path and query as in a request."""
    query = f"?{quote(parts.query, safe=_QUERY_SAFE)}" if parts.query else ""
    return quote(parts.path or "/", safe=_PATH_SAFE) + query


def normalize_address(url: str) -> str:
    """The normal form of all addresses that request the same of the same host. Raises `BadAddress`.

    Case of scheme and host, the scheme's own port, international names, a final dot, letters outside ASCII and the fragment, which is
    never sent, make no difference. Everything else does: a path with dots in it or with more escapes than needed is another address.
    """
    parts, host, port = split_address(url)
    target = re.sub(r"%[0-9a-fA-F]{2}", lambda escape: escape.group().upper(), request_target(parts))
    return f"{parts.scheme}://{host_and_port(parts.scheme, host, port)}{target}"


def addresses_in(text: str, *, bare: bool = False) -> Iterator[str]:
    """The web addresses in a text, normalized; with ``bare`` also host names without ``https://`` before them.

    If it is not clear whether a character at the end belongs to the address, it is returned with and without that character.
    """
    for match in _IN_TEXT.finditer(text):
        for spelling in _without_ends(match.group()):
            yield from _normalized(spelling)
    if bare:
        for match in _BARE.finditer(text):
            for spelling in _without_ends(match.group()):
                yield from _normalized(f"https://{spelling}")
                yield from _normalized(f"http://{spelling}")


def _without_ends(text: str) -> Iterator[str]:
    yield text
    # In Markdown and in brackets, what follows the bracket isn't part of it.
    for at in islice(re.finditer(r"[)\]}]", text), _MOST_ENDS):
        yield text[: at.start()]
    for _ in range(_MOST_ENDS):
        if not text or text[-1] not in _TRAILING:
            return
        text = text[:-1]
        yield text


def _normalized(url: str) -> Iterator[str]:
    try:
        yield normalize_address(url)
    except BadAddress:
        return


def mask_address(url: str) -> str:
    """What may be shown of an address: scheme, host and port. User, password, path, query and fragment may each be a secret."""
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        return "an address that can't be read"
    if not parts.scheme or not host:
        return "an address that can't be read"
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}" + (f":{port}" if port else "")


def mask_addresses(text: str) -> str:
    """A text in which each address, whatever its scheme, is masked."""
    return _ANY_ADDRESS.sub(_masked, text) if "://" in text else text


def _masked(match: re.Match[str]) -> str:
    whole = match.group()
    address = whole.rstrip(f"{_TRAILING})]}}")
    return mask_address(address) + whole[len(address) :]
