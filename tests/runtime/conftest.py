import pytest

pytest.importorskip("av")

from tests.runtime.standin import Nearest
from vsrq.runtime import Options, convert


@pytest.fixture
def upscale():
    """Upscale with a stand-in; options by name."""

    def run(source, target, *, network=None, stdout=None, **options):
        options.setdefault("preset", "ultrafast" if str(target).endswith((".mp4", ".mkv", ".mov")) else None)
        arguments = Options(str(source), str(target), **options)
        return convert(arguments, lambda: (network or Nearest(2), "stand-in"), stdout=stdout)

    return run
