"""The admin's pages in groups by task, whichever application their tables belong to."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.utils.translation import gettext, gettext_noop

#: Each group's name and its tables, in order. A table without a group comes last, under its application's name.
_TASKS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("work", gettext_noop("What runs"), ("run", "session", "step", "schedule", "caseset", "dailyusage")),
    (
        "agents",
        gettext_noop("Agents and models"),
        ("agent", "mcpserver", "modelserver", "toolserver", "price", "budget"),
    ),
    ("people", gettext_noop("People and rights"), ("user", "group", "apitoken", "auditentry")),
    ("logins", gettext_noop("Failed logins"), ("accessattempt", "accessfailurelog")),
    ("operation", gettext_noop("Operation"), ("announcement", "process", "connection", "webhook")),
)


def arrange_by_task(
    applications: Iterable[dict[str, Any]], further: Mapping[str, list[dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Convert the admin's list of applications into one of tasks, with the same structure; ``further`` pages come first."""
    waiting = {model["object_name"].lower(): (model, app) for app in applications for model in app["models"]}
    tasks = []
    for label, name, tables in _TASKS:
        models = [*further.get(label, ()), *(waiting.pop(table)[0] for table in tables if table in waiting)]
        if models:
            tasks.append(_group(label, gettext(name), models))
    others: dict[str, dict[str, Any]] = {}
    for model, app in waiting.values():
        others.setdefault(app["app_label"], _group(app["app_label"], app["name"], []))["models"].append(model)
    return [*tasks, *others.values()]


def _group(label: str, name: str, models: list[dict[str, Any]]) -> dict[str, Any]:
    return {"app_label": label, "name": name, "app_url": "", "has_module_perms": True, "models": models}
