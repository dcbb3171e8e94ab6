"""The hot loops, compiled by numba, one algorithm a file."""
