"""Results in the browser, in 3D: `fullframe view` and `fullframe app`. Needs the extra `view`."""
