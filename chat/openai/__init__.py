"""The door that clients of OpenAI's API know, under ``/v1/``: their requests become messages of a session, and its log their answers.

`pieces`, `completions` and `responses` are functions of frames alone; `asking` is the use case; `views` is what HTTP sees.
"""
