"""The API's description for people, made from its documents: every call with its parameters, answers and examples, and a form to try it."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, get_args

import orjson
from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse

from agents.json_types import JsonObject
from chat.api.docs import SOCKET, openapi_schema
from chat.api.errors import status_of
from chat.protocol import CLOSES, ERROR_CODES
from chat.protocol.frames import StoredFrame, UnstoredFrame, type_of
from chat.protocol.schema import payload_schemas
from chat.rendering.markdown import prepare_markdown
from chat.rendering.template_row import Row
from chat.web.page import render_page

#: Values of each type for examples.
_VALUES: Mapping[str, Any] = {"string": "…", "integer": 1, "number": 1, "boolean": True, "array": [], "object": {}}
#: Values for fields of which not every value of the type is valid.
_NAMED: Mapping[str, Any] = {
    "agent_name": "researcher",
    "model": "researcher",
    "messages": [{"role": "user", "content": "…"}],
}


@login_required
def docs(request: HttpRequest) -> HttpResponse:
    """The page."""
    schema = openapi_schema()
    site = _site(request)
    calls = [
        _call(method.upper(), address, call, site)
        for address, methods in schema["paths"].items()
        for method, call in methods.items()
    ]
    groups: dict[str, list[Row]] = {}
    for call in calls:
        groups.setdefault(_group(call["path"]), []).append(call)
    objects = {name: _object(described) for name, described in schema["components"]["schemas"].items()}
    commands = {word: _object(payload) for word, payload in payload_schemas().items()}
    socket = {
        "description": SOCKET,
        "commands": commands,
        "frames": [(type_of(frame), frame.__name__) for frame in (*get_args(UnstoredFrame), *get_args(StoredFrame))],
        "closes": CLOSES,
        "errors": {code: status_of(code) for code in ERROR_CODES},
    }
    texts = [each["description"] for each in (*objects.values(), *commands.values())]
    fields = [field["description"] for each in (*objects.values(), *commands.values()) for field in each["fields"]]
    prepare_markdown([text for text in (schema["info"]["description"], SOCKET, *texts, *fields) if text])
    return render_page(request, "api/docs.html", info=schema["info"], groups=groups, objects=objects, socket=socket)


def _group(path: str) -> str:
    """The group of a call: the first word of its address, after ``/api/``."""
    words = [word for word in path.split("/") if word and not word.startswith("{")]
    return words[0] if words[0] != "api" or len(words) == 1 else words[1]


def _call(method: str, path: str, call: JsonObject, site: str) -> Row:
    body = _json_of(call.get("requestBody", {}))
    can_have_body = "application/json" in call.get("requestBody", {}).get("content", {})
    example = dict(_example_fields(body)) if can_have_body else None
    scopes = [scope for way in call.get("security", ()) for scopes in way.values() for scope in scopes]
    return {
        "id": f"{method}{path}".replace("/", "-").replace("{", "").replace("}", ""),
        "method": method,
        "path": path,
        "summary": call.get("description") or call.get("summary", ""),
        "scope": scopes[0] if scopes else "",
        "parameters": call.get("parameters", []),
        "body": _fields(body),
        "answers": [
            {"status": status, "description": answer.get("description", ""), "kind": _kind(_json_of(answer))}
            for status, answer in call["responses"].items()
        ],
        "example": json.dumps(example, indent=2, ensure_ascii=False) if example is not None else "",
        "curl": _curl(method, site + path, example),
        "python": _python(method, site + path, example),
        # A call that only accepts tokens cannot be tried with a login, and a stream has no end.
        "can_try": path.startswith("/api/") and not path.endswith("/stream/") and "/agui/" not in path,
    }


def _example_fields(body: JsonObject) -> Iterator[tuple[str, Any]]:
    required = body.get("required", ())
    fields = body.get("properties", {})
    for name in required or list(fields)[:1]:
        yield name, _NAMED.get(name) or _example_value(fields.get(name, {}))


def _example_value(described: JsonObject) -> Any:
    if "enum" in described:
        return described["enum"][0]
    if "anyOf" in described:
        return _example_value(described["anyOf"][0])
    return _VALUES.get(described.get("type", "string"), "…")


def _site(request: HttpRequest) -> str:
    """The address of this site for programs: the public one if it is set, else the one of this request."""
    return (settings.PUBLIC_URL.origin or f"{request.scheme}://{request.get_host()}") + str(settings.PUBLIC_URL.path)


def _curl(method: str, url: str, example: JsonObject | None) -> str:
    """The call as a shell command, with the token in a variable."""
    lines = [f'curl -X {method} "{url}"', '-H "Authorization: Bearer $THINKALOUD_TOKEN"']
    if example is not None:
        # No value of an example contains a single quote, which would end the shell's string.
        lines += ["-H 'Content-Type: application/json'", f"-d '{json.dumps(example, ensure_ascii=False)}'"]
    return " \\\n  ".join(lines)


def _python(method: str, url: str, example: JsonObject | None) -> str:
    """The call in Python, with its standard library."""
    lines = ["import json, os", "from urllib.request import Request, urlopen", ""]
    lines.append('headers = {"Authorization": "Bearer " + os.environ["THINKALOUD_TOKEN"]}')
    body = ""
    if example is not None:
        lines.append('headers["Content-Type"] = "application/json"')
        lines.append(f"body = json.dumps({example!r}).encode()")
        body = ", data=body"
    lines.append(f'ask = Request("{url}", headers=headers, method="{method}"{body})')
    lines.append("with urlopen(ask) as answer:\n    print(answer.read().decode())")
    return "\n".join(lines)


def _json_of(content: JsonObject) -> JsonObject:
    described: JsonObject = content.get("content", {}).get("application/json", {}).get("schema", {})
    return described


def _object(described: JsonObject) -> Row:
    """An object as a section of the page."""
    return {"description": described.get("description", ""), "fields": _fields(described)}


def _fields(described: JsonObject) -> list[Row]:
    """An object's fields as rows of a table."""
    return [
        {
            "name": name,
            "kind": _kind(field),
            "required": name in described.get("required", ()),
            "description": field.get("description", ""),
        }
        for name, field in described.get("properties", {}).items()
    ]


def _kind(described: JsonObject) -> str:
    """A short name of a value's type."""
    if "$ref" in described:
        return str(described["$ref"]).rpartition("/")[2]
    if "const" in described:
        return orjson.dumps(described["const"]).decode()
    if "enum" in described:
        return " or ".join(orjson.dumps(word).decode() for word in described["enum"])
    if "anyOf" in described:
        return " or ".join(_kind(one) for one in described["anyOf"])
    if "prefixItems" in described:
        return f"[{', '.join(_kind(one) for one in described['prefixItems'])}]"
    if described.get("type") == "array":
        return f"list of {_kind(described.get('items', {}))}"
    return str(described.get("format") or described.get("type", ""))
