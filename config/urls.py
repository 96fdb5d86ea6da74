"""The site's addresses."""

from django.contrib import admin
from django.urls import include, path

from chat import health

urlpatterns = [
    path("", include("chat.urls")),
    path("api/", include("chat.api")),
    path("accounts/", include("chat.accounts")),
    path("admin/", admin.site.urls),
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
]
