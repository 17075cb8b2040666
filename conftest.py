"""Says what to do when the workspace is not installed, instead of failing in every test."""

import importlib

import pytest

if importlib.import_module("tunemv3d_core").__file__ is None:
    pytest.exit("the packages are not installed here; run: make install", returncode=2)
