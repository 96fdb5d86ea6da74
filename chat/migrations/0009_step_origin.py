from django.db import migrations, models
import django.db.models.deletion


class Migration(migrations.Migration):

    dependencies = [
        ('chat', '0008_choices'),
    ]

    operations = [
        migrations.CreateModel(
            name='StepOrigin',
            fields=[
                ('step', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='origin', serialize=False, to='chat.step')),
                ('data', models.TextField()),
            ],
        ),
    ]
