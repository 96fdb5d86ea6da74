"""The site's addresses."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from chat.web import health

# For those that ask without having read a page. The plain name, for this answer outlives the file's hashed ones.
icon = RedirectView.as_view(url=f"{settings.STATIC_URL}chat/favicon/done.svg", permanent=True)

urlpatterns = [
    path("", include("chat.urls")),
    path("api/", include("chat.api.urls")),
    path("accounts/", include("chat.web.accounts")),
    path("admin/", admin.site.urls),
    path("favicon.ico", icon, name="icon"),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
]

handler500 = "chat.web.errors.server_error"
