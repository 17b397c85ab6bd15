"""Offline postprocessing of tracks: smoothing, gaps, shape, ground and foot contacts."""
