"""The commands other than `run`; each module is imported when it is asked for."""
