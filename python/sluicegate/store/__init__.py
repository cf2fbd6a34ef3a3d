"""Where rows are kept: one interface, two stores, one text of migrations.

Rules: the store is never in a request's path; whoever asks it stands in a thread of its own. It knows columns, not
requests. Whatever goes wrong in it is a :class:`~sluicegate.store.interface.StoreError`.
"""
