"""A photo's people inferred from other directions, as in figure 7 of ImpHMR (Cho et al., CVPR 2023)."""

from fullframe.imagine.views import DIRECTIONS, Views, imagine_people, offered_by

__all__ = ["DIRECTIONS", "Views", "imagine_people", "offered_by"]
