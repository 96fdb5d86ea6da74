"""What operators run as `manage.py`: the server, backups, the doctor, and the like."""
