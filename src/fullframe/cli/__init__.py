"""The command `fullframe`: one file per subcommand."""
