from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('chat', '0041_call_contents'),
    ]

    operations = [
        migrations.AddField(
            model_name='run',
            name='first_token_ms',
            field=models.BigIntegerField(help_text='From its beginning to the first token of a model; kept when it ends.', null=True),
        ),
    ]
