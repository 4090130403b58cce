"""Particular programs, read and not run: those of another architecture do not run here."""
