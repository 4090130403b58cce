"""What an image is made of: a module for each source of files, and initramfs, which puts them together."""
