"""What pyproject.toml cannot say yet: the extension module that cffi compiles.

It keeps to the stable ABI (cffi's _claim.abi3.so), so that one wheel is for every Python from 3.9 on.
"""

from setuptools import setup

setup(
    cffi_modules=["spank/cffi_build.py:ffibuilder"],
    options={"bdist_wheel": {"py_limited_api": "cp39"}},
)
