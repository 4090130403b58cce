"""Commands in a running guest: the host's end of the agent's line (daemon/microagent is the other)."""
