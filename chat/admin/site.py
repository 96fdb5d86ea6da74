"""The admin's titles, and what its first page shows."""

from django.contrib import admin
from django.utils.translation import gettext_lazy

from chat.admin import now

admin.site.site_header = "Thinkaloud"
admin.site.site_title = "Thinkaloud"
admin.site.index_title = gettext_lazy("Administration")
admin.site.overview = now.overview  # type: ignore[attr-defined] # ours: config.admin_site
admin.site.further_pages = now.further_pages  # type: ignore[attr-defined]
