"""Sluicegate beside nginx and others, in one run on one machine: `python -m bench`."""
