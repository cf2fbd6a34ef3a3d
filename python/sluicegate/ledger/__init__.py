"""Accounts: what a request cost, and the row that is kept of it.

The way of a row: ``records`` says what is written and how, ``spool`` appends it to the worker's own file while the
request is served, ``segments`` finds and reads such files, ``drain`` carries one spool's records into the store, each
exactly once, ``writer`` does so for a whole folder in a thread of its own. ``prices`` says what it cost.

Rules: what the request path calls is synchronous and never waits for a store; ``never raises`` where it says so.
"""
