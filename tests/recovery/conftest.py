"""The fixtures that videos and what is recovered from them share."""

from video_fixtures import body, make_video, recoverer

__all__ = ["body", "make_video", "recoverer"]
