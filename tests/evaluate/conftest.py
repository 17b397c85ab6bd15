"""The fixtures that the tests of evaluation and of its command share."""

from evaluate_fixtures import _smpl_files, checkpoint, make_people, perfect, smpl, smpl_checkpoint

__all__ = ["_smpl_files", "checkpoint", "make_people", "perfect", "smpl", "smpl_checkpoint"]
