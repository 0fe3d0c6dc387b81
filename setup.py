"""What pyproject.toml cannot say: statistics in C, where there is a compiler, else NumPy counts."""

from __future__ import annotations

import sysconfig
from logging import INFO
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

STATISTICS = Extension(
    "opjoule.tracer._statistics",
    ["tracer/_statistics.c"],
    py_limited_api=True,
    optional=True,
)


class BuildStatistics(build_ext):
    """Builds with loops as vectors, and tells which of the two it came to."""

    def build_extension(self, ext: Extension) -> None:
        """Build as fast as the compiler can make it."""
        visual = self.compiler.compiler_type == "msvc"
        ext.extra_compile_args = ["/O2"] if visual else ["-O3", "-g0"]
        super().build_extension(ext)

    def run(self) -> None:
        """Build; where that fails, the install goes on without."""
        super().run()
        built = Path(self.get_ext_fullpath(STATISTICS.name)).is_file()
        said = "are counted in C" if built else "are counted with NumPy: no C compiler built it"
        self.announce(f"opjoule: statistics {said}", INFO)


# One build serves every Python from 3.11 on, but for those without a global lock: they have none.
limited = not sysconfig.get_config_var("Py_GIL_DISABLED")
setup(
    script_name="setup.py",  # by which it is left out of the package at the root
    ext_modules=[STATISTICS] if limited else [],
    cmdclass={"build_ext": BuildStatistics},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if limited else {},
)
