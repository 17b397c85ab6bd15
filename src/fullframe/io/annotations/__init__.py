"""People in photos and videos as other programs write them: boxes, 2D keypoints, tracks.

`read.read_annotations` reads any of the formats of `read.FORMATS`, each in a module of its own;
`photo_matching` finds the photo that an entry is about, `photo_transform` brings its coordinates into the
upright photo.
"""
