"""Tools and agents that others have written, in modules named by the operator or in installed packages that announce theirs.

Three kinds of classes are taken: those derived from `agents.Tool`, Qwen-Agent's tools (`BaseTool`), and Qwen-Agent's agents (`Agent`).
Qwen-Agent itself is imported only where an extension does so.
"""

from agents.extensions.loading import ENTRY_POINTS, ExtensionsRefused, load_extensions

__all__ = ["ENTRY_POINTS", "ExtensionsRefused", "load_extensions"]
