"""Where objects come from: mesh folders and the layouts of published collections."""
