"""The kernel's uevents: read, put in order, counted, sent on."""
