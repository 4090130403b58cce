"""What a full system has and an image has not: a supervisor that wants to be told, modules in one of several places."""
