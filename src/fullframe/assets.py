"""Where the files lie that come with fullframe."""

from pathlib import Path

ASSETS = Path(__file__).parent / "assets"
OPEN_BODY = ASSETS / "open_body.npz"
POSE_PRIOR = ASSETS / "pose_prior.npz"
MOTION = ASSETS / "motion.npz"
WARDROBE = ASSETS / "wardrobe.npz"
DETECTORS = ASSETS / "detectors"
WEIGHTS = ASSETS / "weights"
LIFTER = ASSETS / "lifter.safetensors"
DEMO = ASSETS / "demo"
GESTURES = ASSETS / "gestures"
