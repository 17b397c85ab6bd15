"""`fullframe serve`: recovering people over HTTP."""
