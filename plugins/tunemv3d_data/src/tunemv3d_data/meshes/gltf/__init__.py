"""glTF 2.0 (ISO/IEC 12113:2022) as parts of a mesh: what a viewer shows of a file's scene before anything moves."""
