"""What the pages tell all processes of logins."""

from chat.protocol import group_messages
from chat.runtime import groups
from chat.serving import supervisor


def publish_logins_ended() -> None:
    """Let every process look at once whose login has ended, and close those sockets."""
    groups.publish_from_thread(supervisor.serving_loop(), groups.EVERYONE, group_messages.LOGINS_CHANGED)
