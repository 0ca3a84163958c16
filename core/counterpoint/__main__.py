"""``python -m counterpoint`` is the ``counterpoint`` command."""

from counterpoint.cli import entry

if __name__ == "__main__":
    entry()
