"""Files and folders: pictures, annotations, atomic writes, pickles that cannot execute anything."""
