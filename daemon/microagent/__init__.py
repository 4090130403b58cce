"""The guest's half of `hostbuild run IMAGE -- COMMAND`: runs commands that the host asks for over one line."""

PROTOCOL = 1  # raised with every change that the other side would not understand
