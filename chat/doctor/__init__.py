"""The checks of `manage.py doctor`: whether each part of an installation works, and what to do if it does not.

A check examines one part and yields `Finding`s. It may be slow and may raise anything; `examination` handles both. Nothing here
changes anything, and no finding contains a secret.
"""
