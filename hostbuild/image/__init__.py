"""What an image is made of: a module for each source of files, and build, which puts them together."""
