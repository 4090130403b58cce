"""`hostbuild`, and `python -m hostbuild`: a word instead of a traceback where the host's packages are not installed."""

import sys


def main() -> int:
    """Run hostbuild.main; its exit status, 111 where a package that it needs is missing."""
    try:
        from hostbuild.main import main as run
    except ModuleNotFoundError as e:
        if e.name is None or e.name.partition(".")[0] in ("hostbuild", "modaliasd"):
            raise
        sys.stderr.write(
            f"hostbuild: the Python package {e.name} is not installed: only the guest's part of modaliasd is\n"
            "hint: pip install 'modaliasd[host]'\n"
        )
        return 111
    run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
