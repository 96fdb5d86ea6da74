"""What is stored and how it is read back: the log of steps, drafts, lists, windows and the search index.

Nothing in here starts, ends or publishes anything.
"""
