"""What the admin calls itself."""

from django.contrib import admin
from django.utils.translation import gettext_lazy

admin.site.site_header = "Thinkaloud"
admin.site.site_title = "Thinkaloud"
admin.site.index_title = gettext_lazy("Administration")
