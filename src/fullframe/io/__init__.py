"""Files and folders: pictures, atomic writes, pickles that cannot execute anything."""
