"""From photos, videos and cameras to the people in them."""
