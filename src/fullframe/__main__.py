"""python -m fullframe."""

from fullframe.cli.main import main

main()
