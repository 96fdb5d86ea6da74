"""Files of a case's question: those of the set's owner are used as they are, others' are copied, so that the case keeps them.

In short transactions of its own. Copies that are then not used are deleted after a day, as any unused file is.
"""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from agents.sentence import Sentence
from chat.accounts.models import User
from chat.cases import commands
from chat.cases.commands import CaseFields
from chat.models import CaseFile, File
from chat.runs.admission import Refused
from chat.store import files as stored_files


def files_for(user: User, run_id: UUID, set_id: UUID | None) -> list[UUID]:
    """Copies, for the set's owner, of the files of a run's question; for a new set the user's. Raises `Refused`."""
    run = commands.check_source(user, run_id)
    with transaction.atomic():
        case_set = commands.check_target(user, run_id, set_id)
    owner_id = user.pk if case_set is None else case_set.owner_id
    asked = [UUID(file["id"]) for file in commands.files_in(run)]
    found = File.objects.filter(is_whole=True).in_bulk(asked)
    return [_own(owner_id, found[file_id]) for file_id in asked if file_id in found]


def with_files(user: User, set_id: UUID, lines: Sequence[CaseFields]) -> list[CaseFields]:
    """Fields of cases with their files copied for the set's owner: they may be the user's own, or a case's of the set. Raises `Refused`.

    Of many, each is a line of a file, which the refusal names.
    """
    wanted = {file_id for fields in lines for file_id in fields.files or ()}
    if not wanted:
        return list(lines)
    with transaction.atomic():
        case_set = commands.hold_set(user, set_id)
    in_the_set = CaseFile.objects.filter(case__case_set=case_set).values("file")
    at_hand = File.objects.filter(Q(owner=user) | Q(pk__in=in_the_set), is_whole=True, pk__in=wanted)
    found = {file.pk: file for file in at_hand}
    for number, fields in enumerate(lines, start=1):
        for file_id in fields.files or ():
            if file_id not in found:
                why: str = Sentence("There is no file %(id)s that is yours. Send it first.", id=file_id)
                reason = why if len(lines) == 1 else Sentence("Case %(n)d: %(why)s", n=number, why=why)
                raise Refused("not_found", reason)
    own = {file_id: _own(case_set.owner_id, file) for file_id, file in found.items()}
    return [
        fields if not fields.files else replace(fields, files=[own[file_id] for file_id in fields.files])
        for fields in lines
    ]


def _own(owner_id: int, file: File) -> UUID:
    if file.owner_id == owner_id:
        return file.pk
    try:
        return stored_files.copy_for(owner_id, file).pk
    except stored_files.StorageFull:
        message = Sentence("The files of the set's owner would be more than may be kept. Delete some first.")
        raise Refused("too_large", message) from None
