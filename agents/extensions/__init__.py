"""Tools and agents of extensions: from modules that the operator names, and from installed packages that declare entry points.

Three kinds of classes are accepted: those derived from `agents.Tool`, Qwen-Agent's tools (`BaseTool`), and Qwen-Agent's agents (`Agent`).
Qwen-Agent itself is imported only if an extension imports it.
"""

from agents.extensions.loading import ENTRY_POINTS, ExtensionsRefused, load_extensions

__all__ = ["ENTRY_POINTS", "ExtensionsRefused", "load_extensions"]
