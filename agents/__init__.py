"""Tool-using agents on Qwen-Agent whose reasoning is a stream. Knows nothing of Django or sockets."""
