"""Whether an image will boot, and what in it will not work: pure rules over a view of it, found before the boot."""
