"""What operators see: every metric in :mod:`.metrics`, every request's line in :mod:`.access_log`."""
