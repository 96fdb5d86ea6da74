"""The life of a run: asked for, admitted, queued, executed, recorded, published, ended, recovered.

Nothing in here knows sockets, pages or requests.
"""
