"""The OpenID provider's configuration and keys, and strict checks of its tokens and answers."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import jwt
import requests
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from django.conf import settings
from yarl import URL

from agents.json_types import JsonObject
from chat.security.oidc.http import BoundedSession

#: How many seconds the configuration and the keys are cached, and after which they are read again if reading has failed.
_KEPT_S = 3600.0
_RETRY_S = 5.0
#: Keys are read again for a token with an unknown key, but not within so many seconds.
_KEYS_AT_LEAST_S = 10.0
#: Accepted signatures of an ID token: those whose secret key only the provider has.
_ALGORITHMS = frozenset("RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA".split())
#: How many seconds the provider's clock may differ from ours.
_LEEWAY_S = 60
_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri", "end_session_endpoint")
_LONGEST_SUBJECT = 191
Claims = JsonObject


@dataclass(frozen=True, slots=True)
class _Kept:
    """A document that was read, and when; or why it could not be read."""

    read_at: float
    document: JsonObject
    problem: requests.RequestException | OAuth2Error | None = None


_kept: dict[str, _Kept] = {}


def forget_documents() -> None:
    """Clear the cache."""
    _kept.clear()


def find_apps() -> list[JsonObject]:
    """The configured client in allauth's format; empty if none is configured."""
    providers: JsonObject = settings.SOCIALACCOUNT_PROVIDERS
    apps: list[JsonObject] = providers["openid_connect"]["APPS"]
    return apps


def find_endpoints() -> JsonObject:
    """The provider's configuration. Raises `OAuth2Error` if it isn't the configured issuer's, or `requests.RequestException`. Blocks."""
    address = f"{settings.OIDC_ISSUER.rstrip('/')}/.well-known/openid-configuration"
    return _document(address, _check_configuration)


def logout_address(back: str) -> str:
    """The provider's page to log out, which leads to ``back`` from there; empty if it has no such page.

    The provider knows its user by a cookie: the address contains no token. Raises as `find_endpoints` does.
    """
    offered = find_endpoints().get("end_session_endpoint")
    if not offered:
        return ""
    (client,) = find_apps()
    return str(URL(offered).update_query(client_id=client["client_id"], post_logout_redirect_uri=back))


def _check_configuration(document: JsonObject) -> None:
    named = document.get("issuer")
    if named != settings.OIDC_ISSUER:
        raise OAuth2Error(f"The provider's configuration has the issuer {named!r}: OIDC_ISSUER must be exactly that")
    for name in _ENDPOINTS:
        if name in document and not _is_safe(document[name]):
            raise OAuth2Error(f"The provider's {name} is no https address")
    missing = [name for name in ("authorization_endpoint", "token_endpoint", "jwks_uri") if name not in document]
    if missing:
        raise OAuth2Error(f"The provider's configuration lacks {', '.join(missing)}")


def _is_safe(address: object) -> bool:
    try:
        parts = urlsplit(address) if isinstance(address, str) else None
        host = parts.hostname if parts else None
    except ValueError:
        return False
    if parts is None or not host:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and settings.OIDC_ISSUER.startswith("http://"))


def _document(
    address: str, check: Callable[[JsonObject], None] | None = None, max_age_s: float = _KEPT_S
) -> JsonObject:
    kept = _kept.get(address)
    now = time.monotonic()
    if kept is None or now - kept.read_at >= (max_age_s if kept.problem is None else _RETRY_S):
        kept = _kept[address] = _read_document(address, check, now)
    if kept.problem is not None:
        raise kept.problem.with_traceback(None)
    return kept.document


def _read_document(address: str, check: Callable[[JsonObject], None] | None, now: float) -> _Kept:
    try:
        document = _as_object(_get(address))
        if check:
            check(document)
    except (requests.RequestException, OAuth2Error) as problem:
        return _Kept(now, {}, problem)
    return _Kept(now, document)


def _get(address: str, **options: Any) -> requests.Response:
    with BoundedSession() as session:
        answer = session.get(address, **options)
    if answer.status_code != requests.codes.ok:
        raise requests.HTTPError(f"The provider answered {answer.status_code}", response=answer)
    return answer


def _as_object(answer: requests.Response) -> JsonObject:
    try:
        read = json.loads(answer.content)
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict):
        raise OAuth2Error("The provider's answer is no JSON object")
    return read


def ask_tokens(form: dict[str, str]) -> tuple[int, JsonObject]:
    """Request tokens as this client. Returns the status and the answer. Raises as `find_endpoints` does. Blocks."""
    known = find_endpoints()
    methods = known.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    app = find_apps()[0]
    options: JsonObject = {}
    if isinstance(methods, list) and "client_secret_post" in methods:
        form = {**form, "client_id": app["client_id"], "client_secret": app["secret"]}
    else:
        options["auth"] = requests.auth.HTTPBasicAuth(quote(app["client_id"], safe=""), quote(app["secret"], safe=""))
    with BoundedSession() as session:
        answer = session.post(known["token_endpoint"], data=form, headers={"Accept": "application/json"}, **options)
    return answer.status_code, _as_object(answer)


def read_claims(tokens: JsonObject, *, nonce: str | None = None, subject: str | None = None) -> Claims:
    """A user's claims: those of the ID token, and those of the provider's answer to a request with the access token.

    For a login, ``nonce`` is given, and there must be an ID token; for a later question, ``subject``. Raises `OAuth2Error` if
    anything is wrong, `requests.RequestException` if the provider does not answer. Blocks.
    """
    claims: Claims = {}
    id_token = tokens.get("id_token")
    if isinstance(id_token, str):
        claims = _verify(id_token, nonce)
    elif nonce is not None:
        raise OAuth2Error("There is no ID token")
    if "userinfo_endpoint" in find_endpoints():
        more = ask_userinfo(str(tokens.get("access_token")))
        if more.get("sub") != claims.get("sub", subject):
            raise OAuth2Error("The provider's user info is about another user (sub) than its ID token")
        claims |= {name: value for name, value in more.items() if name not in {"iss", "aud", "exp", "nonce"}}
    found = claims.get("sub")
    is_name = isinstance(found, str) and 0 < len(found) <= _LONGEST_SUBJECT and found.isprintable()
    if not is_name or (subject is not None and found != subject):
        raise OAuth2Error("The provider's claims have no valid sub, or that of another user")
    return claims


def ask_userinfo(access_token: str) -> Claims:
    """The provider's claims about the holder of an access token. Raises as `read_claims` does. Blocks."""
    address = find_endpoints()["userinfo_endpoint"]
    return _as_object(_get(address, headers={"Authorization": f"Bearer {access_token}"}))


def _verify(id_token: str, nonce: str | None) -> Claims:
    app = find_apps()[0]
    try:
        header = jwt.get_unverified_header(id_token)
        if header.get("alg") not in _ALGORITHMS:
            raise OAuth2Error(f"The ID token is signed with none of {', '.join(sorted(_ALGORITHMS))}")
        key = _find_key(header)
        claims: Claims = jwt.decode(
            id_token,
            key,
            algorithms=[header["alg"]],
            audience=app["client_id"],
            issuer=settings.OIDC_ISSUER,
            leeway=_LEEWAY_S,
            options={"require": ["iss", "sub", "aud", "exp", "iat"]},
        )
    except (jwt.PyJWTError, ValueError, TypeError, KeyError) as bad:
        raise OAuth2Error(f"The ID token is not valid: {type(bad).__name__}") from bad
    if nonce is not None and claims.get("nonce") != nonce:
        raise OAuth2Error("The ID token is of another login: its nonce is not the one that was sent")
    audience = claims["aud"]
    if claims.get("azp", app["client_id"]) != app["client_id"] or (
        isinstance(audience, list) and len(audience) > 1 and "azp" not in claims
    ):
        raise OAuth2Error("The ID token was issued for another client (azp)")
    return claims


def _find_key(header: JsonObject) -> jwt.PyJWK:
    """The provider's key that a token names. For an unknown one the keys are read again, because providers change them."""
    address = find_endpoints()["jwks_uri"]
    for max_age_s in (_KEPT_S, _KEYS_AT_LEAST_S):
        listed = _document(address, max_age_s=max_age_s).get("keys")
        for each in listed if isinstance(listed, list) else []:
            if not isinstance(each, dict) or each.get("use", "sig") != "sig" or each.get("kid") != header.get("kid"):
                continue
            try:
                key = jwt.PyJWK(each, algorithm=each.get("alg") or header["alg"])
            except jwt.PyJWTError:
                continue
            if key.algorithm_name == header["alg"]:
                return key
    raise OAuth2Error("The ID token is signed with a key that is not among the provider's (jwks_uri)")
