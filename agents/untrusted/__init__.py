"""Processing of untrusted text: in processes that can be killed, each piece of work with a time limit.

Only light modules: a worker imports one of these and nothing of the application.
"""
