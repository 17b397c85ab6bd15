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
EXAMPLE_PHOTO, EXAMPLE_CLIP = DEMO / "three_people.jpg", DEMO / "squats.mp4"
"""Each with its results beside it, as `tools/build_examples.py` makes them."""
APP = ASSETS / "app"
