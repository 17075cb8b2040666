"""PLY files: text and binary of either byte order, with colours, textures, polygons of any size and strips."""
