"""The answers of `why` and `why-not`, from a history: what asked for a module, what kept it out, what fixes that."""
