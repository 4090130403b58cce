"""The commands about detached guests."""
