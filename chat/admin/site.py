"""What the admin calls itself."""

from django.contrib import admin

admin.site.site_header = "Thinkaloud"
admin.site.site_title = "Thinkaloud"
admin.site.index_title = "Administration"
