"""The operators' view in Django admin: importing this package registers its pages.

Read-only except for a few actions. Nothing here counts or scans the step log: lists are counted only up to a limit.
"""

from chat.admin import (
    agents,
    audit,
    cases,
    login_failures,
    mcp_servers,
    model_servers,
    operations,
    runs,
    schedules,
    sessions,
    site,
    steps,
    tokens,
    tool_servers,
    usage,
    users,
    webhooks,
)

from chat.admin import labels  # isort: skip - when the others have registered their tables

__all__ = [
    "agents",
    "audit",
    "cases",
    "labels",
    "login_failures",
    "mcp_servers",
    "model_servers",
    "operations",
    "runs",
    "schedules",
    "sessions",
    "site",
    "steps",
    "tokens",
    "tool_servers",
    "usage",
    "users",
    "webhooks",
]
