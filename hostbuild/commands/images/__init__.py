"""Commands that look into an image, booting nothing."""
