"""The life of a run: admitted, queued, executed, recorded, published, ended, recovered.

The modules in here know no sockets, pages or requests.
"""
