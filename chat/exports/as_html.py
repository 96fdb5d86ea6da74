"""HTML: one file with the conversation as the pages show it. It loads nothing, and runs only its own script."""

import re
from base64 import b64encode
from collections.abc import Iterator
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from django.contrib.staticfiles import finders
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import get_language
from django.utils.translation import gettext as _

import agents
from agents import FileData
from agents.tools.ask_agent import PREFIX as ASK_PREFIX
from chat.exports.folding import Folding
from chat.exports.source import Source
from chat.models import Run
from chat.protocol import as_uuid
from chat.rendering import humanize, rows
from chat.rendering.fragments import render_fragment
from chat.rendering.markdown import prepare_markdown
from chat.rendering.template_row import Row
from chat.rendering.transcript import Item
from chat.store import files

_STYLES = ("tokens", "base", "pages", "conversation", "files", "narrow")
#: How many characters of thoughts are rendered as Markdown, from the beginning; the rest is shown as plain text.
_RENDERED = 400_000
#: The largest picture, in bytes, that is embedded, and the most for all pictures of a file.
_PICTURE, _PICTURES = 2_000_000, 20_000_000
#: Characters that change the reading direction of the text around them; the pages show them by their code points, too.
_TURNING = {code: f"[U+{code:04X}]" for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}


def write_html(source: Source) -> Iterator[str]:
    """The whole page. Only the step that is being written is in memory."""
    writer = _Writer(source)
    yield writer.head()
    for row in source.runs():
        for part in writer.run(row):
            yield part.translate(_TURNING)
    yield render_fragment("export/foot.html", {"script": mark_safe(_static("chat/export/viewer.js"))})  # noqa: S308 - our own


class _Writer:
    def __init__(self, source: Source) -> None:
        self._source = source
        self._unrendered = _RENDERED
        self._bytes_left = _PICTURES

    def head(self) -> str:
        session = self._source.session
        facts = [
            rows.agent_title(session.agent_name),
            date_format(timezone.localtime(session.created_at), "Y-m-d H:i T"),
            *([_("imported")] if session.imported_at is not None else []),
        ]
        style, script = _style(), _static("chat/export/viewer.js")
        values = {
            "language": get_language(),
            "title": (self._source.title or _("New session")).translate(_TURNING),
            "facts": facts,
            "policy": f"default-src 'none'; img-src data:; style-src '{_digest(style)}'; script-src '{_digest(script)}'; "
            "base-uri 'none'; form-action 'none'",
            "style": mark_safe(style),  # noqa: S308 - our own, like the next
            "sprite": mark_safe(_sprite()),  # noqa: S308
        }
        return render_fragment("export/head.html", values)

    def run(self, row: Run) -> Iterator[str]:
        """A root run, or a run whose root is not in the file."""
        folding = Folding(self._source, row)
        run = folding.run
        yield render_fragment(
            "export/question.html",
            {
                "run": run,
                "by": rows.asked_by(run),
                "is_long": humanize.is_long(run.message),
                "files": self._shown_files(run.files),
            },
        )
        for item in folding.items():
            yield self._item(folding, item, str(item.seq or ""))
        if run.answer is not None:
            prepare_markdown([run.answer.text])
        trouble = rows.failure_banner(run) if run.ended and run.status != "cancelled" else None
        yield render_fragment("export/end.html", {"run": run, "trouble": trouble, "endline": rows.run_summary(run)})

    def _item(self, folding: Folding, item: Item, number: str) -> str:
        """A row of an outline, with the runs within it."""
        run = folding.run
        row = rows.item_row(run, item, run.bars()[0])
        if item.kind in ("thought", "word"):
            self._render(item.text)
        for shown, call in zip(_calls_of(row), item.calls, strict=False):
            shown["files"] = self._shown_files(call.result.files if call.result else [])
            asked = folding.asked_by(call.call_id) if call.name.startswith(ASK_PREFIX) else []
            shown["children"] = SafeString("".join(self._child(child, number or str(call.step)) for child in asked))
        return render_fragment("export/item.html", {"item": row, "number": number})

    def _child(self, row: Run, number: str) -> str:
        """A run within another one. Its steps are numbered within the step of its call; its answer is the last."""
        folding = Folding(self._source, row)
        run = folding.run
        parts = [self._item(folding, item, f"{number}.{place}") for place, item in enumerate(folding.items(), 1)]
        if (answer := run.answer) is not None:
            self._render(answer.text)
            last = rows.answer_item(run, answer)
            parts.append(render_fragment("export/item.html", {"item": last, "number": f"{number}.{len(parts) + 1}"}))
        word = rows.header(run)["word"]
        values = {"run": run, "by": rows.asked_by(run), "word": word, "rows": SafeString("".join(parts))}
        return render_fragment("export/child.html", values)

    def _render(self, text: str) -> None:
        """Render a text as Markdown, as long as the total of characters allows."""
        self._unrendered -= len(text)
        if self._unrendered > 0:
            prepare_markdown([text])

    def _shown_files(self, files: list[FileData]) -> list[Row]:
        """Files as they are shown: small pictures embedded, others by name."""
        return [{**file, "data": self._picture(file)} for file in files]

    def _picture(self, file: FileData) -> str:
        key = as_uuid(file["id"])
        if file["media_type"] not in agents.PICTURES or key is None or file["size"] > min(_PICTURE, self._bytes_left):
            return ""
        if not files.complete_files().filter(pk=key, uses__session=self._source.session).exists():
            return ""
        self._bytes_left -= file["size"]
        return f"data:{file['media_type']};base64,{b64encode(files.content(key)).decode()}"


def _calls_of(row: Row) -> list[Row]:
    return [row["call"]] if row["kind"] == "call" else row.get("calls", [])


@lru_cache(maxsize=16)
def _static(name: str) -> str:
    found = finders.find(name)
    if found is None:
        raise FileNotFoundError(name)
    return Path(found).read_text("utf-8")


@lru_cache(maxsize=1)
def _style() -> str:
    names = [f"chat/css/{name}.css" for name in _STYLES]
    return "\n".join(_static(name) for name in (*names, "chat/export/export.css"))


@lru_cache(maxsize=1)
def _sprite() -> str:
    return re.sub(r"<!--.*?-->", "", _static("chat/icons.svg"), flags=re.DOTALL)


@lru_cache(maxsize=4)
def _digest(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"
