"""ImpHMR (Cho et al., CVPR 2023): a neural feature field that imagines a person from unseen directions."""
