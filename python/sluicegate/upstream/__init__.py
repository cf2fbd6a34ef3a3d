"""Connections to upstreams: names, pools, and one attempt's three awaitables. From `send` on the bytes are Rust's."""
