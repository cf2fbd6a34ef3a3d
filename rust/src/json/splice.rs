//! Replaces, inserts and removes top-level members of a JSON object as text.
