"""Device trees as blobs (.dtb): read into nodes, and from nodes to the modaliases that a kernel makes of them."""
