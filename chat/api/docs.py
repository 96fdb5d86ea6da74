"""The API's description, for programs and for people."""

from typing import Any

import orjson
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from chat.api.errors import not_logged_in
from chat.api.routes import api


async def openapi(request: HttpRequest) -> HttpResponse:
    """The API's description for programs."""
    if (await request.auser()).is_anonymous:
        return not_logged_in()
    return HttpResponse(orjson.dumps(openapi_schema(), option=orjson.OPT_NON_STR_KEYS), content_type="application/json")


def openapi_schema() -> dict[str, Any]:
    """The description of all calls, as OpenAPI has it."""
    return dict(api.get_openapi_schema(path_prefix="/api/"))


@login_required
def docs(request: HttpRequest) -> HttpResponse:
    """The API's description for people."""
    schema = openapi_schema()
    calls = [
        {
            "method": method.upper(),
            "path": address,
            "summary": call["description"],
            "parameters": call.get("parameters", []),
            "body": _fields(_json_of(call.get("requestBody", {}))),
            "answers": [
                {"status": status, "told": answer.get("description", ""), "kind": _kind(_json_of(answer))}
                for status, answer in call["responses"].items()
            ],
        }
        for address, methods in schema["paths"].items()
        for method, call in methods.items()
    ]
    objects = {name: _fields(described) for name, described in schema["components"]["schemas"].items()}
    return render(request, "api/docs.html", {"info": schema["info"], "calls": calls, "objects": objects})


def _json_of(content: dict[str, Any]) -> dict[str, Any]:
    described: dict[str, Any] = content.get("content", {}).get("application/json", {}).get("schema", {})
    return described


def _fields(described: dict[str, Any]) -> list[dict[str, Any]]:
    """An object's fields, as a table shows them."""
    return [
        {
            "name": name,
            "kind": _kind(field),
            "required": name in described.get("required", ()),
            "told": field.get("description", ""),
        }
        for name, field in described.get("properties", {}).items()
    ]


def _kind(described: dict[str, Any]) -> str:
    """A value's type in few words."""
    if "$ref" in described:
        return str(described["$ref"]).rpartition("/")[2]
    if "anyOf" in described:
        return " or ".join(_kind(one) for one in described["anyOf"])
    if "prefixItems" in described:
        return f"[{', '.join(_kind(one) for one in described['prefixItems'])}]"
    if described.get("type") == "array":
        return f"list of {_kind(described.get('items', {}))}"
    return str(described.get("format") or described.get("type", ""))
