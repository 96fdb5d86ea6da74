"""Traces by OpenTelemetry: spans built from the stored data of ended runs, and sent to a collector. No run waits for any of it.

`spans` builds the spans, `cursor` stores what has been sent, `sending` sends them, `exporter` does all of it in a background thread.
"""
