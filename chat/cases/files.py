"""Files of a run's question for a case: one's own are used as they are, others' are copied, so that the case keeps them."""

from uuid import UUID

from agents.sentence import Sentence
from chat.accounts.models import User
from chat.cases import commands
from chat.models import File
from chat.runs.admission import Refused
from chat.store import files as stored_files


def files_for(user: User, run_id: UUID) -> list[UUID]:
    """Files of the user's with what a run was asked with, in short transactions. Raises `Refused`.

    What is copied and then not used is removed in a day, as any file is that nobody uses.
    """
    run = commands.check_source(user, run_id)
    asked = [UUID(file["id"]) for file in commands.files_in(run)]
    found = File.objects.filter(is_whole=True).in_bulk(asked)
    try:
        return [_own(user, found[file_id]) for file_id in asked if file_id in found]
    except stored_files.NoRoom:
        raise Refused("too_large", Sentence("Your files would be more than may be kept. Delete some first.")) from None


def _own(user: User, file: File) -> UUID:
    return file.pk if file.owner_id == user.pk else stored_files.copy_for(user.pk, file).pk
