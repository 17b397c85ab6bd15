"""The fixtures that annotate and the page of reviews share."""

from annotate_fixtures import photos, samples

__all__ = ["photos", "samples"]
