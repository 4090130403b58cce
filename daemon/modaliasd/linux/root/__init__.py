"""What finding and mounting a root file system asks of Linux: block devices looked at, programs run."""
