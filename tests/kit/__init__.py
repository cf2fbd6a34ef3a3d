"""What the tests stand on: the real gateway as a process, raw sockets towards it, and observers of what it says."""
