"""Is this installation well, and what mends it where it is not: `manage.py doctor`.

A check looks at one part and tells `Finding`s. It may take its time and may fail in any way; `examination` sees to both. Nothing here
changes anything, and nothing that is told holds a secret.
"""
