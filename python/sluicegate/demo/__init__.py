"""The scripted upstream that the tests and the show use, and the show itself."""
