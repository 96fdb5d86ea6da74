"""Files of a run's question for a case: those of the set's owner are used as they are, others' are copied, so that the case keeps them."""

from uuid import UUID

from django.db import transaction

from agents.sentence import Sentence
from chat.accounts.models import User
from chat.cases import commands
from chat.models import File
from chat.runs.admission import Refused
from chat.store import files as stored_files


def files_for(user: User, run_id: UUID, set_id: UUID | None) -> list[UUID]:
    """Files with what a run was asked with, of the set's owner, in short transactions: the user's for a new set. Raises `Refused`.

    What is copied and then not used is removed in a day, as any file is that nobody uses.
    """
    run = commands.check_source(user, run_id)
    with transaction.atomic():
        case_set = commands.check_target(user, run_id, set_id)
    owner_id = user.pk if case_set is None else case_set.owner_id
    asked = [UUID(file["id"]) for file in commands.files_in(run)]
    found = File.objects.filter(is_whole=True).in_bulk(asked)
    return [_own(owner_id, found[file_id]) for file_id in asked if file_id in found]


def _own(owner_id: int, file: File) -> UUID:
    if file.owner_id == owner_id:
        return file.pk
    try:
        return stored_files.copy_for(owner_id, file).pk
    except stored_files.NoRoom:
        words = Sentence("The files of the set's owner would be more than may be kept. Delete some first.")
        raise Refused("too_large", words) from None
