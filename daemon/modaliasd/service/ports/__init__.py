"""What each part of the service asks of the others and of the outside: narrow protocols, for the type checker only.

Nothing imports these modules at run time. A part names the protocols in its constructor's keywords; boot.py hands the
real things in, tests/support/fakeworld.py stand-ins, and mypy holds both against what stands here.
"""
