"""The readers' protocol, and what every order of events does to it."""
