"""python -m fullframe."""

from fullframe.cli import main

main()
