"""Sets of cases: made, asked of a version of an agent, judged, and shown as a table over versions. The only writer of their tables.

``commands`` makes and changes sets and cases; ``set_runs`` has every move of a run of a set, each one transaction; ``runner`` makes
them by the clock; ``judging`` says whether an answer is right; ``selectors`` reads, and ``formats`` are the files. What is asked is an
ordinary run of an ordinary session: nothing here executes one.
"""
