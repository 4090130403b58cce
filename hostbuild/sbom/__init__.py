"""What an image is made of, as a software bill of materials: of the manifest and the image, for two formats."""
