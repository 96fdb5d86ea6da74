"""Types of variables: parsers of their texts, and descriptions of valid values.

Each parser gets a text that is not blank. The message of a `ValueRefused` continues after the variable's name.
"""

import errno
import json
import os
import re
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import SplitResult, urlsplit

from pydantic import BeforeValidator

from agents.addresses import BadAddress, host_and_port, mask_addresses, plain_ipv6, split_address
from agents.approval import Policy, read_policy
from agents.models.address_list import AddressList
from chat.runtime.listening import NoHost, read_host
from config.addresses import AddressRefused
from config.database_address import parse_database
from config.mail_address import MailServer, parse_mail
from config.redis_address import RedisAddress, parse_redis

_SHORTEST_KEY = 32
_OWN_HOST = re.compile(r"\*|\.?[\w-]+(\.[\w-]+)*\.?", re.ASCII)
_PLAIN_PATH = re.compile(r"[\w./~ -]{1,200}")
#: The longest value that the table of providers' accounts can store.
_LONGEST_ISSUER = 200
#: The description of a valid folder of static files.
NOT_ITS_OWN = "must be a folder of its own: what is in it is served to everybody, and replaced"
#: The folder that relative paths refer to.
BASE_DIR = Path(__file__).resolve().parent.parent


class ValueRefused(ValueError):
    """The description of a valid value, as ``must be …``; and the part of the value that may be shown: nothing if it may be secret."""

    def __init__(self, must: str, shown: str | None) -> None:
        super().__init__(must)
        self.shown = shown


@dataclass(frozen=True, slots=True)
class PublicUrl:
    """The address under which people reach this installation, parsed."""

    origin: str = ""
    host: str = ""
    secure: bool = False
    #: The path on that host, as ``/app``; empty if the installation has the host to itself.
    path: str = ""


def _words(raw: str) -> list[str]:
    return [word.strip() for word in raw.split(",") if word.strip()]


def _networks(raw: str) -> list[str]:
    for word in _words(raw):
        try:
            ip_network(word, strict=False)
        except ValueError:
            raise ValueRefused("must be addresses or networks such as 10.0.0.0/8", word) from None
    return _words(raw)


def _path(raw: str | Path) -> Path:
    """A path relative to the project's folder; ``~`` is a user's home. Raises `OSError` if there is no such user."""
    try:
        return BASE_DIR / Path(raw).expanduser()
    except RuntimeError:
        raise OSError(errno.ENOENT, "no such user") from None


def _folder(raw: str | Path) -> Path:
    """A folder that can be written to; it is made if it is missing."""
    try:
        path = _path(raw)
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ValueRefused(f"must name a folder that can be made ({error.strerror})", str(raw)) from None
    if not os.access(path, os.W_OK | os.X_OK):
        raise ValueRefused("must name a folder that can be written to", str(path))
    return path


def _static_folder(raw: str) -> Path:
    """The folder into which static files are collected: anything else in it would be served too, and deleted when collecting again."""
    try:
        path = _path(raw).resolve()
    except OSError as error:
        raise ValueRefused(f"must name a folder ({error.strerror})", raw) from None
    if BASE_DIR.is_relative_to(path) or path.is_relative_to(BASE_DIR / "static"):
        raise ValueRefused(NOT_ITS_OWN, raw)
    return path


def _origins(raw: str) -> list[str]:
    found = []
    for word in _words(raw):
        parsed = parse_public_url(word.replace("://*.", "://"))
        if parsed is None or parsed.path:
            raise ValueRefused("must be origins like https://chat.example.org", word)
        found.append(parsed.origin.replace("://", "://*.") if "://*." in word else parsed.origin)
    return found


def _own_hosts(raw: str) -> list[str]:
    """Host names of this server: values of a request's Host header; a leading dot includes subdomains."""
    found = []
    for word in _words(raw):
        six = plain_ipv6(word)
        if not (_OWN_HOST.fullmatch(word) or six):
            raise ValueRefused("must be names of hosts like chat.example.org, without scheme and port", word)
        found.append(f"[{six}]" if six else word)
    return found


def _listening_host(raw: str) -> str:
    try:
        return read_host(raw)
    except NoHost as bad:
        raise ValueRefused(str(bad), raw) from None


def _hosts(raw: str) -> list[str]:
    """Host names; a leading ``*.`` means subdomains."""
    found = []
    for word in _words(raw):
        stars, host = ("*.", word[2:]) if word.startswith("*.") else ("", word)
        try:
            host = host.strip("[]")
            parts, host, _ = split_address(f"http://{host_and_port('http', host, 80)}/")
        except BadAddress:
            parts = None
        if parts is None or parts.path != "/" or parts.query or parts.fragment or parts.port:
            raise ValueRefused("must be hosts like example.org or *.example.org", word)
        found.append(stars + host.lower())
    return found


def _addresses(raw: str) -> AddressList:
    for word in _words(raw):
        try:
            AddressList([word])
        except BadAddress:
            raise ValueRefused(
                "must be addresses like https://api.example.org/v1, https://*.example.org or http://10.0.0.5:*", word
            ) from None
    return AddressList(_words(raw))


def _field_key(raw: str) -> str:
    if len(raw) < _SHORTEST_KEY:
        raise ValueRefused(f"must have at least {_SHORTEST_KEY} characters", None)
    return raw


def _public_url(raw: str) -> PublicUrl:
    parsed = parse_public_url(raw)
    if parsed is None:
        raise ValueRefused("must be an address like https://chat.example.org or https://example.org/chat", raw)
    return parsed


def _model_server(raw: str) -> str:
    parsed = _split(raw)
    if raw == "dashscope" or (parsed and parsed.scheme in {"http", "https"} and parsed.hostname):
        return raw
    raise ValueRefused("must be dashscope or start with http:// or https:// and name a host", _masked(raw))


def _endpoint(raw: str) -> str:
    parsed = _split(raw)
    if parsed is None or parsed.scheme not in {"http", "https"} or not parsed.hostname:
        raise ValueRefused("must start with http:// or https:// and name a host", _masked(raw))
    return raw


def _issuer(raw: str) -> str:
    parsed = _split(raw)
    is_here = parsed is not None and parsed.hostname in {"localhost", "127.0.0.1", "::1"}
    if (
        parsed is None
        or not (parsed.scheme == "https" or (parsed.scheme == "http" and is_here))
        or not parsed.hostname
        or parsed.query
        or parsed.fragment
        or "@" in parsed.netloc
        or len(raw) > _LONGEST_ISSUER
    ):
        raise ValueRefused(
            "must be the provider's address, https://…, exactly as its configuration has it (issuer)", _masked(raw)
        )
    return raw


def _redis(raw: str) -> RedisAddress:
    try:
        return parse_redis(raw)
    except AddressRefused as bad:
        raise ValueRefused(str(bad), raw) from None


def _mail(raw: str) -> MailServer:
    try:
        return parse_mail(raw)
    except AddressRefused as bad:
        raise ValueRefused(str(bad), None) from None


def _database(raw: str) -> dict[str, Any]:
    try:
        return parse_database(raw, BASE_DIR)
    except AddressRefused as bad:
        raise ValueRefused(str(bad), raw if raw.startswith(("postgres", "sqlite:")) else _masked(raw)) from None


def _json_object(raw: str) -> dict[str, Any]:
    """A JSON object, given as such or as the path of a file that contains one."""
    must = "must be a JSON object or the path of a file that holds one"
    try:
        read = json.loads(raw if raw[0] in "{[" else _path(raw).read_text("utf-8"))
    except OSError as error:
        # Invalid JSON may contain keys.
        raise ValueRefused(f"{must} ({error.strerror})", raw if _PLAIN_PATH.fullmatch(raw) else None) from None
    except (ValueError, RecursionError) as error:
        raise ValueRefused(f"{must} ({error})", None) from None
    if not isinstance(read, dict):
        raise ValueRefused(must, None)
    return read


def _policy(raw: str) -> Policy:
    try:
        return read_policy(json.loads(raw))
    except RecursionError:
        raise ValueRefused("must be a JSON list of rules", raw) from None
    except json.JSONDecodeError as error:
        raise ValueRefused(f"must be a JSON list of rules ({error.msg})", raw) from None
    except ValueError as error:
        raise ValueRefused(f"must be a JSON list of rules: {str(error).rstrip('.')}", None) from None


def _masked(value: str) -> str:
    """An invalid address of a server, without what may be secret."""
    return mask_addresses(value) if "://" in value else re.sub(r"^.*@|[?#].*", "…", value)


def _split(url: str) -> SplitResult | None:
    """Parse an address; None if that is impossible."""
    if re.search(r"[\s\x00-\x1f]", url):
        return None  # characters that `urlsplit` silently removes, or takes for a part of a name
    try:
        parsed = urlsplit(url)
        parsed.port  # noqa: B018 - raises when the port is none
    except ValueError:
        return None
    return parsed


def parse_public_url(url: str) -> PublicUrl | None:
    """Parse an address that people use: scheme, host and, if the host serves other things too, a path. None if it is invalid."""
    parsed = _split(url)
    if (
        parsed is None
        or parsed.scheme not in {"http", "https"}
        or not parsed.hostname
        or not re.fullmatch(r"[a-z0-9._:-]+", parsed.hostname)
        or not re.fullmatch(r"(/[A-Za-z0-9._~-]+)*/?", parsed.path)
        or {".", ".."} & set(parsed.path.split("/"))
        or parsed.query
        or parsed.fragment
        or "@" in parsed.netloc
    ):
        return None
    host = parsed.hostname
    if "[" in parsed.netloc:
        six = plain_ipv6(host)
        if six is None:
            return None
        host = f"[{six}]"
    # Browsers leave the scheme's own port out of the Origin they send.
    usual = {"http": 80, "https": 443}[parsed.scheme]
    port = "" if parsed.port in {None, usual} else f":{parsed.port}"
    return PublicUrl(f"{parsed.scheme}://{host}{port}", host, parsed.scheme == "https", parsed.path.rstrip("/"))


Words = Annotated[list[str], BeforeValidator(_words)]
Networks = Annotated[list[str], BeforeValidator(_networks)]
Origins = Annotated[list[str], BeforeValidator(_origins)]
Hosts = Annotated[list[str], BeforeValidator(_hosts)]
ListeningHost = Annotated[str, BeforeValidator(_listening_host)]
OwnHosts = Annotated[list[str], BeforeValidator(_own_hosts)]
Mail = Annotated[MailServer | None, BeforeValidator(_mail)]
Endpoint = Annotated[str, BeforeValidator(_endpoint)]
Issuer = Annotated[str, BeforeValidator(_issuer)]
FieldKey = Annotated[str, BeforeValidator(_field_key)]
Addresses = Annotated[AddressList, BeforeValidator(_addresses)]
Folder = Annotated[Path, BeforeValidator(_folder)]
StaticFolder = Annotated[Path | None, BeforeValidator(_static_folder)]
PublicAddress = Annotated[PublicUrl, BeforeValidator(_public_url)]
ModelServer = Annotated[str, BeforeValidator(_model_server)]
Redis = Annotated[RedisAddress | None, BeforeValidator(_redis)]
Database = Annotated[dict[str, Any] | None, BeforeValidator(_database)]
JsonObject = Annotated[dict[str, Any], BeforeValidator(_json_object)]
ApprovalPolicy = Annotated[Policy, BeforeValidator(_policy)]
