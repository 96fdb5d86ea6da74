"""OpenAI's API, under ``/v1/``: requests become messages of a session, and its log becomes their answers.

`pieces`, `completions` and `responses` are functions of frames alone; `asking` is the use case; `views` handles HTTP.
"""
