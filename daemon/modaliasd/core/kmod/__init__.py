"""The rules of kmod: its files, its lookups, what one of them has inserted."""
