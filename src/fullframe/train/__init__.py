"""Training of the networks in `fullframe.models`; needs the extra `train`."""
