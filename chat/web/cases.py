"""The pages of sets: the list, a set with its results, and the forms. They work without scripts."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, BinaryIO, cast
from uuid import UUID

from asgiref.sync import async_to_sync
from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_http_methods, require_safe

from chat.access import Role, has_right, may_drive, may_manage
from chat.api.errors import status_of
from chat.cases import commands, formats, rules, runner, set_runs
from chat.cases import files as case_files
from chat.cases import selectors as case_selectors
from chat.cases.commands import CaseFields
from chat.cases.rules import BadRule
from chat.catalog import agents as catalog
from chat.models import Act, AgentVersion, Case, CaseSet, Door, SetRun, SetRunState
from chat.rendering.agents import agent_rows
from chat.rendering.sentences import translate_sentence
from chat.runs import admission, uploads
from chat.runs import registry as run_registry
from chat.runs.admission import Refused
from chat.security import audit
from chat.web import set_sharing
from chat.web.acts import form_action
from chat.web.page import render_page, user_of, visible_session

#: How many cases, and how many of the set's runs, a page shows.
PAGE_CASES, COLUMNS = 50, 6


class CaseForm(forms.Form):
    """The form of a case. The use case validates it."""

    question = forms.CharField(
        label=gettext_lazy("Question"), required=False, strip=False, widget=forms.Textarea(attrs={"rows": 5})
    )
    expected = forms.CharField(
        label=gettext_lazy("Expected words"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=gettext_lazy(
            "A word or phrase on each line. All must appear in the answer; capitals and spaces don't matter."
        ),
    )
    rule = forms.CharField(
        label=gettext_lazy("Rule"),
        required=False,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 4, "class": "mono", "spellcheck": "false", "autocapitalize": "none"}),
        help_text=gettext_lazy(
            "Python for the sandbox, with <code>answer</code> and <code>steps</code>, a list of "
            "<code>{tool, arguments, result, ok}</code>. The last expression says whether the answer is right; "
            "<code>assert</code> may say why not."
        ),
    )
    notes = forms.CharField(label=gettext_lazy("Notes"), required=False, widget=forms.Textarea(attrs={"rows": 2}))

    def typed_fields(self) -> CaseFields:
        """The fields for the use case."""
        data = self.cleaned_data
        return CaseFields(data["question"], data["expected"], data["rule"], data["notes"])

    def refuse(self, refused: Refused) -> None:
        """Show why the use case has refused the form."""
        field = "question" if refused.code == "empty_message" else "rule" if isinstance(refused, BadRule) else None
        self.add_error(field, translate_sentence(refused.message))


def _visible(request: HttpRequest, set_id: UUID) -> tuple[CaseSet, Role]:
    """A set that the reader may see, and their role in it. Raises `Http404`."""
    found = case_selectors.find_set(user_of(request), set_id)
    if found is None:
        raise Http404
    return found


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def index(request: HttpRequest) -> HttpResponse:
    """The user's own sets and those shared with them, with the results of their newest runs; and the form for a new one."""
    refused = ""
    if request.method == "POST":
        try:
            made = commands.make_set(user_of(request), request.POST.get("name", ""))
        except Refused as refusal:
            refused = translate_sentence(refusal.message)
        else:
            return redirect("case-set", made.pk)
    user = user_of(request)
    sets: list[Any] = [*case_selectors.own_sets(user), *case_selectors.shared_sets(user)]
    newest = SetRun.objects.select_related("agent_version").filter(pk__in=[each.last_run for each in sets])
    columns = {column.set_run.pk: column for column in case_selectors.columns_of(newest)}
    rows = [(each, columns.get(each.last_run)) for each in sets]
    return _answer(render_page(request, "chat/case_sets.html", page="sets", rows=rows, refused=refused), refused)


def _answer(answer: HttpResponse, refused: str) -> HttpResponse:
    answer.status_code = 400 if refused else 200
    return answer


@require_safe
@login_required
def case_set(request: HttpRequest, set_id: UUID) -> HttpResponse:
    """A set: its cases, and their results in its newest runs, or in those that the query string names."""
    found, role = _visible(request, set_id)
    cases = Paginator(Case.objects.filter(case_set=found).order_by("number"), PAGE_CASES).get_page(
        request.GET.get("page")
    )
    runs = Paginator(case_selectors.runs_of(found), COLUMNS).get_page(request.GET.get("runs"))
    # One more than is shown: the oldest one is compared with it.
    start = runs.start_index() - 1 if runs.paginator.count else 0
    shown = list(case_selectors.runs_of(found)[start : start + COLUMNS + 1])
    columns = case_selectors.columns_of(shown)
    rows = case_selectors.results_table(list(cases), columns)
    usable = catalog.usable_by(user_of(request).pk)
    part = request.GET.get("part") == "table"
    return render_page(
        request,
        "chat/_case_table.html" if part else "chat/case_set.html",
        page="sets",
        case_set=found,
        may_change=may_drive(role),
        may_manage=may_manage(role),
        cases=cases,
        runs=runs,
        columns=columns[:COLUMNS],
        rows=[(row.case, row.cells[:COLUMNS]) for row in rows],
        running=next((each for each in shown if each.state == SetRunState.RUNNING), None),
        agents=agent_rows(usable),
        agent_name=commands.default_agent(found),
        versions=_versions(request, commands.default_agent(found)),
    )


def _versions(request: HttpRequest, agent_name: str) -> list[int]:
    """The versions of the agent to choose from; empty for users who may not change agents."""
    if not has_right(user_of(request), set_runs.CHANGE_AGENTS):
        return []
    found = AgentVersion.objects.filter(agent__name=agent_name).order_by("-number").values_list("number", flat=True)
    return list(found[:50])


@form_action
def rename(request: HttpRequest, set_id: UUID) -> HttpResponse:
    """Give a set another name."""
    return _perform(
        request, set_id, lambda: commands.rename_set(user_of(request), set_id, request.POST.get("name", ""))
    )


@form_action
def run(request: HttpRequest, set_id: UUID) -> HttpResponse:
    """Run a set."""
    version = request.POST.get("version", "")
    return _perform(
        request,
        set_id,
        lambda: set_runs.begin(
            user_of(request),
            set_id,
            agent_name=request.POST.get("agent_name", ""),
            version=int(version) if version.isdecimal() and len(version) < 10 else None,
            door=Door.PAGE,
        ),
    )


@form_action
def stop(request: HttpRequest, set_id: UUID, number: int) -> HttpResponse:
    """Stop a run of a set."""

    def stop_it() -> None:
        async_to_sync(runner.end_runs)(set_runs.stop(user_of(request), set_id, number, Door.PAGE))

    return _perform(request, set_id, stop_it)


def _perform(request: HttpRequest, set_id: UUID, action: Callable[[], Any]) -> HttpResponse:
    """Call ``action``, then show the set again, with the reason if it was refused."""
    _visible(request, set_id)
    try:
        action()
    except Refused as refused:
        if refused.code == "not_allowed":
            return _refuse(request, refused)
        messages.error(request, translate_sentence(refused.message))
    return redirect("case-set", set_id)


def _changed(request: HttpRequest, set_id: UUID, may: Callable[[Role], bool] = may_drive) -> CaseSet:
    """A set that the reader ``may`` change. Raises `Refused`."""
    found, _role = _visible(request, set_id)
    commands.check_may(user_of(request), found, may)
    return found


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def delete(request: HttpRequest, set_id: UUID) -> HttpResponse:
    """Ask for confirmation, then delete a set."""
    try:
        own = _changed(request, set_id, may_manage)
    except Refused as refused:
        return _refuse(request, refused)
    if request.method == "POST":
        for run_id in commands.remove_set(user_of(request), set_id, Door.PAGE):
            async_to_sync(run_registry.stop_run)(run_id, "The set was deleted.")
        messages.success(request, _("“%(name)s” was deleted.") % {"name": own.name})
        return redirect("case-sets")
    return render_page(request, "chat/case_set_delete.html", page="sets", case_set=own)


def _fields_in(request: HttpRequest, set_id: UUID, form: CaseForm) -> CaseFields:
    """The form's fields, with the files that are kept and uploaded. Raises `Refused`."""
    fields, user = rules.checked(form.typed_fields()), user_of(request)
    if "has_files" not in request.POST:
        return fields
    kept = admission.check_files(request.POST.getlist("kept"))
    sent = request.FILES.getlist("files")
    admission.check_count(len(kept) + len(sent))
    brought = [
        async_to_sync(uploads.store_file)(user, cast(BinaryIO, each.file), each.size or 0, name=each.name or "")
        for each in sent
    ]
    (ready,) = case_files.with_files(user, set_id, [replace(fields, files=[*kept, *(file.pk for file in brought)])])
    return ready


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def new_case(request: HttpRequest, set_id: UUID) -> HttpResponse:
    """Add a case."""
    try:
        found = _changed(request, set_id)
    except Refused as refused:
        return _refuse(request, refused)
    form = CaseForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            commands.add_case(user_of(request), set_id, _fields_in(request, set_id, form), Door.PAGE)
        except Refused as refused:
            form.refuse(refused)
        else:
            return redirect("case-set", set_id)
    return _form_page(request, form, case_set=found)


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def case(request: HttpRequest, set_id: UUID, case_id: UUID) -> HttpResponse:
    """Show a case, as a form for users who may change it; or delete it."""
    case_set, role = _visible(request, set_id)
    found = Case.objects.filter(case_set=case_set, pk=case_id).first()
    if found is None:
        raise Http404
    values = {name: getattr(found, name) for name in ("question", "expected", "rule", "notes")}
    form = CaseForm(request.POST or None, initial=values)
    if not may_drive(role):
        if request.method == "POST":
            return _refuse(request, commands.no_change())
        for field in form.fields.values():
            field.disabled = True
    if request.method == "POST" and "delete" in request.POST:
        commands.remove_case(user_of(request), set_id, case_id, Door.PAGE)
        return redirect("case-set", set_id)
    if request.method == "POST" and form.is_valid():
        try:
            commands.change_case(user_of(request), set_id, case_id, _fields_in(request, set_id, form), Door.PAGE)
        except Refused as refused:
            form.refuse(refused)
        else:
            return redirect("case-set", set_id)
    return _form_page(
        request, form, case_set=case_set, case=found, may_change=may_drive(role), files=commands.files_in(found)
    )


@require_http_methods(["GET", "HEAD", "POST"])
@login_required
def of_run(request: HttpRequest, run_id: UUID) -> HttpResponse:
    """Make a case from a run, in a set of the user's or a new one."""
    user = user_of(request)
    try:
        source = commands.check_source(user, run_id)
    except Refused as refused:
        return _refuse(request, refused)
    # This also audits staff's access to other users' runs.
    visible_session(request, source.session_id)
    form = CaseForm(request.POST or None, initial={"question": source.message})
    if request.method == "POST" and form.is_valid():
        chosen = request.POST.get("set_id", "")
        try:
            set_id = UUID(chosen) if chosen else None
            fields = rules.checked(form.typed_fields())
            file_ids = case_files.files_for(user, run_id, set_id)
            new_set = request.POST.get("set_name", "")
            made = commands.add_case_of_run(user, run_id, set_id, fields, file_ids, Door.PAGE, new_set=new_set)
        except ValueError:
            raise Http404 from None
        except Refused as refused:
            if refused.code == "not_found":
                raise Http404 from None
            form.refuse(refused)
        else:
            messages.success(request, _("The case is in this set now."))
            return redirect("case-set", made.case_set_id)
    is_owner = source.session.owner_id == user.pk
    sets = case_selectors.driven_sets(user) if is_owner else list(case_selectors.own_sets(user))
    return _form_page(
        request, form, run=source, sets=sets, files=commands.files_in(source), set_name=request.POST.get("set_name", "")
    )


def _refuse(request: HttpRequest, refused: Refused) -> HttpResponse:
    if refused.code == "not_found":
        raise Http404
    answer = render_page(request, "chat/refused.html", page="refused", refused=translate_sentence(refused.message))
    answer.status_code = status_of(refused.code)
    return answer


def _form_page(request: HttpRequest, form: CaseForm, **context: Any) -> HttpResponse:
    answer = render_page(request, "chat/case_form.html", page="sets", form=form, **{"may_change": True, **context})
    answer.status_code = 400 if form.errors else 200
    return answer


@form_action
def import_cases(request: HttpRequest, set_id: UUID) -> HttpResponse:
    """Add cases from a file of JSON lines."""
    sent = request.FILES.get("file")
    content = sent.read() if sent is not None and (sent.size or 0) <= formats.LARGEST else b""

    def add() -> None:
        user = user_of(request)
        fields = case_files.with_files(user, set_id, formats.read_lines(content))
        commands.import_cases(user, set_id, fields, Door.PAGE)

    return _perform(request, set_id, add)


@require_safe
@login_required
def export_cases(request: HttpRequest, set_id: UUID) -> HttpResponse:
    """The cases as JSON lines."""
    found, _role = _visible(request, set_id)
    content = b"".join(formats.lines_of(found.pk))
    return _file(request, found, f"set {set_id}", content, "cases.jsonl", "application/jsonl")


@require_safe
@login_required
def export_results(request: HttpRequest, set_id: UUID, number: int) -> HttpResponse:
    """The results of a run of a set, as CSV."""
    found, _role = _visible(request, set_id)
    set_run = case_selectors.runs_of(found).filter(number=number).first()
    if set_run is None:
        raise Http404
    content = "".join(formats.results_csv(set_run)).encode()
    return _file(request, found, f"set {set_id} run {number}", content, "results.csv", "text/csv; charset=utf-8")


def _file(request: HttpRequest, case_set: CaseSet, about: str, content: bytes, name: str, kind: str) -> HttpResponse:
    audit.record_action(user_of(request).pk, Act.EXPORT, Door.PAGE, subject_id=case_set.owner_id, about=about)
    return HttpResponse(content, content_type=kind, headers={"Content-Disposition": f'attachment; filename="{name}"'})


urlpatterns = [
    path("", index, name="case-sets"),
    path("<uuid:set_id>/", case_set, name="case-set"),
    path("<uuid:set_id>/rename/", rename, name="case-set-rename"),
    path("<uuid:set_id>/delete/", delete, name="case-set-delete"),
    path("<uuid:set_id>/share/", set_sharing.shares, name="case-set-shares"),
    path("<uuid:set_id>/leave/", set_sharing.leave, name="case-set-leave"),
    path("<uuid:set_id>/run/", run, name="case-set-run"),
    path("<uuid:set_id>/runs/<int:number>/stop/", stop, name="case-set-stop"),
    path("<uuid:set_id>/runs/<int:number>/csv/", export_results, name="case-results"),
    path("<uuid:set_id>/export/", export_cases, name="case-export"),
    path("<uuid:set_id>/import/", import_cases, name="case-import"),
    path("<uuid:set_id>/cases/new/", new_case, name="case-new"),
    path("<uuid:set_id>/cases/<uuid:case_id>/", case, name="case"),
]
