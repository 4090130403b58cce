"""The main job, told on a terminal: build an image, boot it, plug and unplug devices, print what happened."""

print("make demo: not yet")
