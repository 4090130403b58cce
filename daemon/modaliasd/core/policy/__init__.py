"""What may be loaded, for whom, and when."""
