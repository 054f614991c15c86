"""What pyproject.toml cannot say yet: the extension module that cffi compiles."""

from setuptools import setup

setup(cffi_modules=["spank/cffi_build.py:ffibuilder"])
