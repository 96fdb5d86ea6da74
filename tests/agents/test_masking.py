"""What looks like a secret is masked, and nothing else."""

import json
from itertools import pairwise

import pytest

from agents.masking import find_secrets, mask_secrets, mask_text, mask_with_places, may_hold_secret
from tests.agents.untrusted.linear import assert_linear

CHANCE = "x7Qp2Lm9Zt4Vb8Nc1Ks6"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMIIEow\nAb+/=\n-----END RSA PRIVATE KEY-----"
#: A text, and what must not be left of it.
SECRETS = {
    "OpenAI": (f"use sk-proj-{CHANCE}.", CHANCE),
    "Stripe": (f"sk_live_{CHANCE}", CHANCE),
    "AWS": ("id AKIAIOSFODNN7EXAMPLE, then", "AKIAIOSFODNN7EXAMPLE"),
    "AWS secret": ("aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "wJalrXUtnFEMI"),
    "GitHub": (f"https://x.org ghp_{CHANCE}{CHANCE}", CHANCE),
    "GitHub, fine": (f"(github_pat_{CHANCE}_{CHANCE})", CHANCE),
    "GitLab": (f"glpat-{CHANCE}", CHANCE),
    "Slack": ("xoxb-123456789012-abcdefGHIJ", "123456789012"),
    "Google": (f"AIza{CHANCE}{CHANCE}", CHANCE),
    "Hugging Face": (f"hf_{CHANCE}", CHANCE),
    "ours": (f"tk_{CHANCE}", CHANCE),
    "a link of ours": (f"Not Found: /s/lk_{CHANCE}/", CHANCE),
    "JWT": ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl", "eyJzdWIi"),
    "PEM": (f"key:\n{PEM}\nthen", "MIIEow"),
    "PEM, cut": (PEM[:70], "MIIEow"),
    "PEM, escaped": (json.dumps(PEM), "MIIEow"),
    "PGP": (
        "-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: 1.2 (x)\n\nlQdG\n-----END PGP PRIVATE KEY BLOCK-----",
        "lQdG",
    ),
    "Authorization": ("Authorization: Bearer abcdefgh", "abcdefgh"),
    "Authorization, JSON": ('{"Authorization": "Basic dXNlcjpwYXNz"}', "dXNlcjpwYXNz"),
    "Bearer": ("curl -H 'Bearer abcdef123456xyz'", "abcdef123456xyz"),
    "address": ("postgres://bo:hunter2@db.example/x", "hunter2"),
    "password": ("password=hunter2", "hunter2"),
    "password, spaced": ("Password : 'correct horse'", "correct horse"),
    "password, JSON": ('{"db_password": "p\\u00e4ss"}', "u00e4ss"),
    "password, JSON in JSON": (json.dumps(json.dumps({"password": "hunter2"})), "hunter2"),
    "password, query": ("https://x.org/?user=bo&password=hunter2&x=1", "hunter2"),
    "password, Chinese": ("密碼：hunter2。", "hunter2"),
    "password, simplified": ("数据库密码=hunter2", "hunter2"),
    "named key": (f"API_KEY={CHANCE}", CHANCE),
    "named key, YAML": (f"api-key: {CHANCE}", CHANCE),
    "named token": (f"'access_token' => '{CHANCE}'", CHANCE),
    "cookie": (f"sessionid={CHANCE}", CHANCE),
    "after CJK": (f"金鑰是sk-{CHANCE}", CHANCE),
}
HARMLESS = [
    "",
    "The password: ${PASSWORD}",
    "password = os.environ['PW']",
    '{"password": null, "token": "<your token>"}',
    "max_tokens=4096, input_tokens: 812",
    "The token is passed on. A bearer of good news.",
    "basic understanding of authorization",
    "risk-averse-investors-are-happier-than-others",
    "task-list and disk-usage",
    "https://example.org/a@b?token=none",
    "AKIA is a prefix; sk- too; eyJ",
    "550e8400-e29b-41d4-a716-446655440000",
    "secret: the okapi is at the quay",
    "mail bo@example.org or see https://example.org:8080/x",
]


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_hidden(name: str) -> None:
    text, secret = SECRETS[name]
    assert secret in text
    masked, places = mask_with_places(text)
    assert secret not in masked
    assert places
    assert all(masked[each.start : each.end] == f"[hidden {each.kind}]" for each in places)
    assert mask_secrets(masked) == masked
    assert may_hold_secret(text)
    # Also within JSON, where it is escaped.
    assert may_hold_secret(json.dumps(text, ensure_ascii=False))


@pytest.mark.parametrize("text", HARMLESS)
def test_other_text_stays(text: str) -> None:
    assert mask_secrets(text) == text


def test_text_around_a_secret_stays() -> None:
    assert (
        mask_secrets("postgres://bo:hunter2@db/x?password=abc&y=1")
        == "postgres://bo:[hidden password]@db/x?password=[hidden password]&y=1"
    )
    assert mask_secrets('{"password": "a,b", "n": 1}') == '{"password": "[hidden password]", "n": 1}'
    assert mask_secrets("password: hunter2.") == "password: [hidden password]."


def test_secrets_do_not_overlap() -> None:
    text = f"Authorization: Bearer sk-{CHANCE} password=sk-{CHANCE}"
    found = find_secrets(text)
    assert all(one.end <= other.start for one, other in pairwise(found))
    assert CHANCE not in mask_secrets(text)


def test_logs_and_errors_lose_addresses_too() -> None:
    assert (
        mask_text(f"GET https://bo:pw@x.org/a?b=c failed with sk-{CHANCE}")
        == "GET https://x.org failed with [hidden key]"
    )


@pytest.mark.parametrize(
    "piece",
    ["sk-", "eyJ", "eyJaaaaaaaa.", "-----BEGIN PRIVATE KEY-----", "-----BEGIN ", "password=", "password ", "://a:", "://", "Bearer ",
     "authorization: ", "token:'", "\\", "secret\"\"\"", "a", "1", "SG.aaaaaaaaaaaaaaaaaa.", "basic a", "pwd=x ", "密碼："],
)  # fmt: skip
def test_any_text_takes_time_in_proportion(piece: str) -> None:
    assert_linear(mask_secrets, piece * (200_000 // len(piece)) + "@")
