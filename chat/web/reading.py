"""The setting whether other readers of a session see where the user reads."""

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import resolve_url
from django.utils.http import url_has_allowed_host_and_scheme

from chat.web.acts import form_action
from chat.web.page import user_of


@form_action
def choose_reading(request: HttpRequest) -> HttpResponse:
    """Save the setting (``on`` is 1), and go back."""
    user = user_of(request)
    user.shows_reading = request.POST.get("on") == "1"
    user.save(update_fields=["shows_reading"])
    back = request.POST.get("next", "")
    if not url_has_allowed_host_and_scheme(back, {request.get_host()}, require_https=request.is_secure()):
        back = resolve_url("home")
    return HttpResponseRedirect(back)
