"""The losses of training: terms, and the objective that sums them."""
