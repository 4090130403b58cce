"""The images that tests wish for, as options of make-image; they are built once (image/kept.py)."""

from hostbuild.errors import InputError
from hostbuild.formats.compress import Compressor
from hostbuild.image.build import ImageOptions, Modprobe
from hostbuild.image.sources.extras import Extra
from hostbuild.near import did_you_mean
from hostbuild.testing.marks import ImageWish


def options_of(wish: ImageWish, kernel: str | None) -> ImageOptions:
    """Return what to build. Raises InputError for words that make-image does not know."""
    return ImageOptions(
        kernel=kernel,
        modules_dir=wish.modules_dir,
        modules=wish.modules,
        overlays=wish.overlay,
        firmware_dirs=wish.firmware_dir,
        modprobe=Modprobe(_known("modprobe", wish.modprobe, [one.value for one in Modprobe])),
        python=wish.python,
        extras=tuple(Extra(_known("extras", word, [one.value for one in Extra])) for word in wish.extras),
        compressor=Compressor.ZSTD,
    )


def _known(what: str, word: str, words: list[str]) -> str:
    if word not in words:
        known = did_you_mean(word, words) or f"; known are {', '.join(words)}"
        raise InputError(f"the mark image: {what} {word!r} is unknown{known}")
    return word
