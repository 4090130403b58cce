"""The network helper of an image: brings Ethernet links up and gets their addresses by DHCP (docs/network.md).

A process of its own beside the daemon: it takes part in no load, and neither imports the other. `hostbuild make-image
--with network` puts it into an image, with pyroute2, which speaks rtnetlink and DHCP.

links.py, answers.py, settings.py: pure, which link wants what, what a DHCP answer has to be, and what a lease means.
client.py, helper.py: sockets and files.
"""
