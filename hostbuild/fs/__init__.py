"""This machine's file system: files read and written whole, temporary places, room, options that are paths."""
