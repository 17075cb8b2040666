"""Wavefront OBJ and its material files (MTL), as the many programs that write them do."""
