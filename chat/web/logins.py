"""Notifies all processes that logins have ended."""

from chat.protocol import group_messages
from chat.runtime import groups
from chat.serving import supervisor


def publish_logins_ended() -> None:
    """Have every process check at once which logins have ended, and close their sockets."""
    groups.publish_from_thread(supervisor.serving_loop(), groups.EVERYONE, group_messages.LOGINS_CHANGED)
