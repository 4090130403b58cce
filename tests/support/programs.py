"""Programs that tests call: oracles, and what makes their data. `make setup` installs all of them."""

from hostbuild.run import find_program


def require_program(name: str) -> str:
    """Give the path of a program, wherever Debian puts it. One that is missing is a failure, never a skip."""
    found = find_program(name)
    assert found is not None, f"{name} is not installed: make setup installs debian-packages.txt"
    return found
