"""The guest's half of `hostbuild run IMAGE -- COMMAND`: runs commands that the host asks for over one line."""

PROTOCOL = 2  # raised with every change that the other side would not understand
UNDERSTOOD = (1, PROTOCOL)  # of agents; 1 knows nothing of ports
PORT = "micro.agent"  # the virtio port that the host gives to a machine with a virtio serial controller
