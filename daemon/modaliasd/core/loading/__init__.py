"""Which module is loaded when, for which cause, and what became of it."""
