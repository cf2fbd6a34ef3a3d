"""Who may ask: the keys of the configuration and of the store, and what an operator does with the latter.

Rules: the store is never asked by a request: a thread reads it every two seconds, and what requests look at is an
immutable ring of digests that is exchanged whole. A key itself is seen once, by whoever made it.
"""
