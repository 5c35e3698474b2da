"""What is kept of an uploaded picture."""

import io
import struct
import zlib

import pytest
from PIL import Image

from pms_iot.workorders.evidence import MAX_PHOTO_BYTES, PhotoRefusedError, clean_photo

GPS_TAG, ORIENTATION, MAKER = 0x8825, 0x0112, 0x010F


def picture(size: tuple[int, int], kind: str = "JPEG", **save: object) -> bytes:
    image = Image.linear_gradient("L").resize(size).convert("RGB")
    file = io.BytesIO()
    image.save(file, kind, **save)
    return file.getvalue()


def reopened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def test_large_photo_is_brought_to_1600_pixels_and_keeps_its_shape() -> None:
    kept = reopened(clean_photo(picture((4000, 3000))))
    assert (kept.format, kept.size) == ("JPEG", (1600, 1200))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "GIF", "BMP"])
def test_other_kinds_of_picture_become_jpeg(kind: str) -> None:
    kept = reopened(clean_photo(picture((300, 200), kind)))
    assert (kept.format, kept.size) == ("JPEG", (300, 200))


def test_place_and_device_are_removed_and_the_picture_stands_upright() -> None:
    exif = Image.Exif()
    exif[MAKER] = "SomePhone"
    exif[ORIENTATION] = 6  # turned by 90°
    exif.get_ifd(GPS_TAG)[2] = (31.0, 14.0, 9.0)
    original = picture((400, 200), exif=exif.tobytes(), comment=b"at home")
    assert b"SomePhone" in original
    cleaned = clean_photo(original)
    kept = reopened(cleaned)
    assert kept.size == (200, 400)
    assert not kept.getexif() and "comment" not in kept.info
    assert b"SomePhone" not in cleaned and b"at home" not in cleaned


def test_small_photo_is_not_enlarged() -> None:
    assert reopened(clean_photo(picture((64, 48)))).size == (64, 48)


@pytest.mark.parametrize(
    "content",
    [b"", b"hello", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"%PDF-1.7\n", b"\xff\xd8\xff"],
    ids=["empty", "text", "svg", "pdf", "jpeg header only"],
)
def test_what_is_no_image_is_refused(content: bytes) -> None:
    with pytest.raises(PhotoRefusedError) as refused:
        clean_photo(content)
    assert refused.value.reason == "not_an_image"


def test_truncated_photo_is_refused() -> None:
    whole = picture((600, 600))
    with pytest.raises(PhotoRefusedError) as refused:
        clean_photo(whole[: len(whole) // 2])
    assert refused.value.reason == "not_an_image"


def test_too_large_upload_is_refused_before_it_is_looked_at() -> None:
    with pytest.raises(PhotoRefusedError) as refused:
        clean_photo(b"\0" * (MAX_PHOTO_BYTES + 1))
    assert refused.value.reason == "too_large"


def test_small_file_that_claims_a_huge_picture_is_refused() -> None:
    def chunk(name: bytes, body: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + body))
        return struct.pack(">I", len(body)) + name + body + checksum

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    with pytest.raises(PhotoRefusedError) as refused:
        clean_photo(bomb)
    assert refused.value.reason == "too_many_pixels"
