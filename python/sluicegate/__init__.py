"""Sluicegate: a streaming gateway for LLM APIs. Python decides, Rust carries, Prometheus watches."""

__version__ = "0.1.0"
"""The version of Cargo.toml, which a test compares; a constant, since importlib.metadata costs 15 ms at start."""
