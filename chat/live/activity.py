"""What a connected user is doing now (reading a step, typing), sent to the others. It is never stored, and may be lost."""

from chat.access import Role, may_drive
from chat.accounts.models import User
from chat.live.connections import OpenSocket
from chat.protocol import group_messages
from chat.protocol.group_messages import ActivityChanged
from chat.protocol.notes import ActivityData
from chat.runtime import database, groups


async def publish(user: User, open_socket: OpenSocket, seq: int | None, *, typing: bool | None) -> None:
    """Publish which step a user reads and whether they type, as far as others may know it.

    Typing is published only for users who may ask; reading, for a watcher, only if they have switched that on; nothing for staff.
    """
    drives = may_drive(open_socket.role)
    data: ActivityData = {"user": user.get_username()}
    if typing is not None and drives:
        data["typing"] = typing
    if seq is not None and (drives or (open_socket.role is Role.WATCHER and await _shows_reading(user))):
        data["seq"] = seq
    if len(data) > 1:
        message: ActivityChanged = {"version": group_messages.VERSION, "type": "activity", "data": data}
        await groups.publish(groups.of_session(open_socket.session_id), message)


async def _shows_reading(user: User) -> bool:
    """Whether the user lets others see what they read: read from the database, because it may have changed since the socket was opened."""
    return await database.read(User.objects.filter(pk=user.pk, shows_reading=True).exists)
