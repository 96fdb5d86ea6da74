"""Processing of untrusted text in worker processes, which can be killed; each call has a time limit.

Only light modules: a worker imports one of these and nothing of the application.
"""
