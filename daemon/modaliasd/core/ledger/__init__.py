"""The ledger: written, read back, explained."""
