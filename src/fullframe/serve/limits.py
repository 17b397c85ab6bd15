"""The limits of the service; `api` and `clip_jobs` refuse what exceeds them."""

from dataclasses import dataclass, field

from fullframe.view.upload_checks import UploadLimits


@dataclass(frozen=True)
class Limits:
    """The limits of the service.

    Attributes:
        photo: of each photo that is sent.
        clip: of each clip that is sent.
        photos: photos that are received and processed at a time, each in memory.
        clips: clips that wait or are processed at a time, each on the disk.
        kept: finished clips whose results are kept; then the oldest are deleted.
        photo_s: seconds from the first byte of a photo to its answer.
        upload_s: seconds in which a clip has to arrive.
        clip_s: seconds that the processing of a clip may take.
        expiry_s: seconds after which the results of a clip are deleted.
    """

    photo: UploadLimits = field(default_factory=lambda: UploadLimits(bytes=50_000_000))
    clip: UploadLimits = field(default_factory=lambda: UploadLimits(seconds=60))
    photos: int = 32
    clips: int = 8
    kept: int = 32
    photo_s: float = 60
    upload_s: float = 300
    clip_s: float = 1800
    expiry_s: float = 3600
