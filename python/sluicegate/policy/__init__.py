"""Decisions: who may ask, and where a request goes. No I/O, no clock, no ``async``; what they need is passed in."""
