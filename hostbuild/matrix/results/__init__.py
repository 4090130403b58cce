"""What a run came to: verdicts, the directory that keeps it, and how it is shown."""
