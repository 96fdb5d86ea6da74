"""Traces by OpenTelemetry: spans made of what is stored of a run, and sent to a collector. Nothing here is on the way of a run.

`spans` makes them, `cursor` keeps what has been sent, `sending` sends, `exporter` does so by itself in a thread of its own.
"""
