"""What an image is made of: each source of files a module."""
