"""The address at which a model server takes requests. Imports nothing heavy: the processes that serve pages use it, too."""

DASHSCOPE = "https://dashscope.aliyuncs.com/compatible-mode/v1"
COMPLETIONS = "/chat/completions"


def completions_url(server: str) -> str:
    """The address for chat completions, from a server's base URL or the word ``dashscope``."""
    base = DASHSCOPE if server.strip().lower() == "dashscope" else server.strip().rstrip("/")
    return base if base.endswith(COMPLETIONS) else base + COMPLETIONS
