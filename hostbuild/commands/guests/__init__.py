"""The commands about running guests."""
