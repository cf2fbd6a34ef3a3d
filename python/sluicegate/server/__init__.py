"""Processes: what one worker does from its sockets to its exit code."""
