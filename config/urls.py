"""The site's addresses."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("", include("chat.urls")),
    path("api/", include("chat.api")),
    path("admin/", admin.site.urls),
]
