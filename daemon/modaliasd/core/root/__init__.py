"""The root file system: what the command line asks for, what a device holds, and why it does not come. Pure."""
