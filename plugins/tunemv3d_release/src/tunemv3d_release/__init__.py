"""A release, short of uploading it: ``build`` makes its files, ``checks`` finds what is wrong, ``make`` does both."""

__version__ = "0.1.0"
