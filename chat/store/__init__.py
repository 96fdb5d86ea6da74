"""What is stored, and reading it back: the log of steps, drafts, lists, parts of logs, and the search index.

The modules in here do not start, end or publish anything.
"""
