"""Where a model server takes requests. Light: what serves pages imports it, and Qwen-Agent, which takes seconds, comes later."""

DASHSCOPE = "https://dashscope.aliyuncs.com/compatible-mode/v1"
COMPLETIONS = "/chat/completions"


def completions_url(server: str) -> str:
    """Where a server takes chat completions, from its base URL or the word ``dashscope``."""
    base = DASHSCOPE if server.strip().lower() == "dashscope" else server.strip().rstrip("/")
    return base if base.endswith(COMPLETIONS) else base + COMPLETIONS
