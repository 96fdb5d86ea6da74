from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    """What a session keeps of its reader's choices, and the key by which a client asks for it twice.

    All of it can be done without by a process of the version before, whose rows the database fills in.
    """

    dependencies = [
        ('chat', '0007_tool_servers'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name='session',
            name='enable_reasoning',
            field=models.BooleanField(db_default=True, default=True, help_text='Whether its page asks for the steps, too.'),
        ),
        migrations.AddField(
            model_name='session',
            name='creation_key',
            field=models.CharField(blank=True, editable=False, help_text='By which its client may ask for it again.', max_length=64, null=True),
        ),
        migrations.AddField(
            model_name='session',
            name='creation_digest',
            field=models.CharField(blank=True, editable=False, max_length=64, null=True),
        ),
        migrations.AddConstraint(
            model_name='session',
            constraint=models.UniqueConstraint(fields=('owner', 'creation_key'), name='one_session_per_creation_key'),
        ),
    ]
