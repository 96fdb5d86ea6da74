"""The user's API tokens: created, shown once, revoked."""

from datetime import timedelta
from uuid import UUID

from django import forms
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext, pgettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from chat.models import ApiToken, Scope
from chat.protocol import is_blank
from chat.rendering.template_row import Row
from chat.security import tokens
from chat.web.acts import form_action
from chat.web.logins import publish_logins_ended
from chat.web.page import render_page, user_of

#: A description of each scope, for users who choose one.
SCOPES = {
    Scope.READ: gettext_lazy("Read: sessions, runs and files, and follow what happens"),
    Scope.ASK: gettext_lazy("Ask: also ask, stop and continue"),
    Scope.MANAGE: gettext_lazy("Manage: also open, rename and delete sessions, schedules and files"),
}
_SHORT = {
    Scope.READ: pgettext_lazy("scope", "Read"),
    Scope.ASK: pgettext_lazy("scope", "Ask"),
    Scope.MANAGE: pgettext_lazy("scope", "Manage"),
}
_DOORS = {
    "api": "API",
    "socket": "WebSocket",
    "stream": "Event stream",
    "v1": "OpenAI-compatible API",
    "agui": "AG-UI",
    "metrics": "/metrics",
}
_DAYS = (7, 30, 90, 365)


def _expiries() -> list[tuple[str, str]]:
    after = [(str(days), ngettext("After %(n)s day", "After %(n)s days", days) % {"n": days}) for days in _DAYS]
    return [*after, ("", _("Never"))]


class TokenForm(forms.Form):
    """A new token."""

    name = forms.CharField(label=gettext_lazy("What it is for"), max_length=100)
    scope = forms.ChoiceField(
        label=gettext_lazy("What it may do"), choices=[*SCOPES.items()], initial=Scope.READ, widget=forms.RadioSelect
    )
    days = forms.ChoiceField(label=gettext_lazy("Expires"), choices=_expiries, initial="90", required=False)

    def clean_name(self) -> str:
        """A name that is not blank."""
        name: str = self.cleaned_data["name"]
        if is_blank(name):
            raise forms.ValidationError(_("A name needs at least one letter, digit or sign that can be seen."))
        return name


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@login_required
def index(request: HttpRequest) -> HttpResponse:
    """The user's tokens; a new one is shown only in the response to the form that creates it."""
    form = TokenForm(request.POST if request.method == "POST" else None)
    made: Row = {}
    if request.method == "POST" and form.is_valid():
        fields = form.cleaned_data
        expires_at = timezone.now() + timedelta(days=int(fields["days"])) if fields["days"] else None
        try:
            token, text = tokens.make_token(user_of(request), fields["name"], Scope(fields["scope"]), expires_at)
        except tokens.TooManyTokens:
            message = _("You have %(n)d tokens, and more are not allowed. Revoke one first.")
            form.add_error(None, message % {"n": tokens.MOST_TOKENS})
        else:
            made, form = {"made": token, "text": text}, TokenForm()
    own = [_row(token) for token in ApiToken.objects.filter(user=user_of(request))]
    answer = render_page(request, "registration/tokens.html", form=form, tokens=own, **made)
    answer.status_code = 400 if form.errors else 200
    return answer


@form_action
def revoke(request: HttpRequest, token_id: UUID) -> HttpResponse:
    """Revoke a token."""
    if not tokens.revoke_token(user_of(request).pk, token_id):
        raise Http404
    publish_logins_ended()
    messages.success(request, _("Revoked. Nobody gets in with it any more."))
    return redirect("tokens")


def _row(token: ApiToken) -> Row:
    return {
        "token": token,
        "scope": _SHORT[Scope(token.scope)],
        "door": _DOORS.get(token.last_used_door, token.last_used_door),
        "is_expired": token.expires_at is not None and token.expires_at <= timezone.now(),
    }
