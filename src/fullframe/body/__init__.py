"""Body models: shape and pose to vertices and joints."""

from fullframe.body.body_model import BodyModel, BodyOutput, load_body
from fullframe.body.files import BodyFileError
from fullframe.body.joint_sets import JOINT_SETS, PARENTS, JointSet

__all__ = ["JOINT_SETS", "PARENTS", "BodyFileError", "BodyModel", "BodyOutput", "JointSet", "load_body"]
