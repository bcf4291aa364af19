"""Still images as the datasets read them; kept in :mod:`vsrq.images`, which needs no mmagic."""

from vsrq.images import IMAGE_SUFFIXES, decode_image, image_size

__all__ = ["IMAGE_SUFFIXES", "decode_image", "image_size"]
