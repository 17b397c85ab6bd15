from tiny import tiny_encoder

__all__ = ["tiny_encoder"]
