"""A photo's people inferred from other directions, as in figure 7 of ImpHMR (Cho et al., CVPR 2023)."""
