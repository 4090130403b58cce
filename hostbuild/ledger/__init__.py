"""Ledgers on the host: read and written, compared, watched while they grow."""
