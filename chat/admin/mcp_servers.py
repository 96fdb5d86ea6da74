"""MCP servers with an address, in the admin: entered, tried, and their tools listed for the form of agents."""

import re
from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

import agents
from chat.admin.entered_servers import EnteredServerAdmin, ServerForm
from chat.admin.patience import Busy, one_of_few
from chat.catalog import mcp_servers, server_changes
from chat.models import McpServer
from chat.rendering.sentences import first_sentence, translate_sentence

#: Seconds after which a trial is stopped.
PATIENCE_S = 15
_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,39}")
#: Headers that control how a request is read, and so cannot hold a key.
_NO_KEYS = frozenset(
    {"host", "connection", "content-length", "content-type", "transfer-encoding", "te", "upgrade", "accept"}
)


class McpServerForm(ServerForm):
    """An MCP server."""

    class Meta(ServerForm.Meta):
        model = McpServer
        fields = ("name", "address", "transport", "key_header")

    def clean_name(self) -> str:
        """Refuse a name that the environment's configuration has: tools of both servers would have the same names."""
        name: str = self.cleaned_data["name"]
        if name in settings.MCP_SERVERS:
            raise forms.ValidationError(gettext("The environment has a tool server of this name already."))
        return name

    def clean_key_header(self) -> str:
        """Refuse headers that are not free for a key."""
        header: str = self.cleaned_data["key_header"]
        if not _HEADER.fullmatch(header) or header.lower() in _NO_KEYS:
            raise forms.ValidationError(gettext("Write the name of a header, as Authorization or X-API-Key."))
        return header

    def more(self) -> dict[str, Any]:
        """Its transport, and the header of its key."""
        return {name: self.cleaned_data[name] for name in ("transport", "key_header")}


@admin.register(McpServer)
class McpServerAdmin(EnteredServerAdmin):
    """The MCP servers whose tools agents may use."""

    form = McpServerForm
    change_form_template = "admin/chat/mcpserver/change_form.html"
    fields = ("name", "address", "transport", "shown_key", "new_key", "no_key", "key_header", "shown_tools")
    readonly_fields: ClassVar[tuple[str, ...]] = ("shown_key", "shown_tools")

    @admin.display(description=_("tools"))
    def shown_tools(self, server: McpServer) -> SafeString | str:
        """The tools that the last trial found, each with the first sentence of its description."""
        if not server.offered:
            return gettext("Not known yet: save the server, then try it.")
        rows = ((name, first_sentence(description)) for name, description in sorted(server.offered.items()))
        return format_html("<ul>{}</ul>", format_html_join("", "<li><code>{}</code> {}</li>", rows))

    def get_urls(self) -> list[URLPattern]:
        """The admin's own addresses, and that of the trial."""
        view = self.admin_site.admin_view(require_POST(self.try_server))
        urls: list[URLPattern] = super().get_urls()
        return [path("<int:pk>/try/", view, name="chat_mcpserver_try"), *urls]

    def try_server(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Connect to it now, from this process, and store its list of tools."""
        if not self.has_change_permission(request):
            raise PermissionDenied
        server = get_object_or_404(McpServer, pk=pk)
        try:
            with one_of_few():
                found, problem = agents.inspect_server(server.name, mcp_servers.entry_of(server), PATIENCE_S)
        except Busy as busy:
            found, problem = {}, translate_sentence(busy.message)
        if problem:
            self.message_user(request, problem, messages.ERROR)
        else:
            server_changes.keep_offer(server, found)
            message = ngettext("It answers, and has %(n)d tool.", "It answers, and has %(n)d tools.", len(found))
            self.message_user(request, message % {"n": len(found)}, messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:chat_mcpserver_change", args=(pk,)))
