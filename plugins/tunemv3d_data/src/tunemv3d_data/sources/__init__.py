"""Sources of objects: mesh folders and the layouts of published collections."""
