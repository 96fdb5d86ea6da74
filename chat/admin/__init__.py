"""The operators' view in Django admin: importing this package registers its pages."""

from chat.admin import site, tool_servers

__all__ = ["site", "tool_servers"]
