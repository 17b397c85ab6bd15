"""The command `fullframe run`."""
