"""From videos to the people in them, and back to videos with the people drawn."""
