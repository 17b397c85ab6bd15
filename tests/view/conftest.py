from browsers import chromium, page, service

__all__ = ["chromium", "page", "service"]
