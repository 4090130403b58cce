"""Guests that live for somebody: one for a command or a console, or detached, by name, until it is stopped."""
