"""Recognise automatic descriptions: texts that cameras and programs write into every photo.

From PhotoPrism's `UnwantedDescriptions` (internal/meta/sanitize.go), KPhotoAlbum's `commentsToStrip` and reports of
users of Immich (docs/sidecars.md, "Facts about other programs"). Only a complete text counts, never a part of one, and
no text that a user might have typed, such as "Untitled", "Photo" or "Screenshot". Codes of phones count only in the
spelling of the phones: "Dav" and "Mon" may be names, "dav" and "rhdr" are shooting modes of Huawei and Honor.
"""

import re

_MAKERS = (
    "olympus|sony|konica minolta|minolta|konica|samsung|samsung techwin|pentax|jenoptik|nikon|casio|kodak|lg|ricoh|"
    "fujifilm|fuji|canon|panasonic|vivitar|hp|polaroid|medion|traveler|praktica|rollei|epson|toshiba|sanyo|kyocera|"
    "leica|yakumo|benq|ge|general|vtech|digital"
)
_TEXTS = (
    "sony dsc",
    "minolta dsc",
    "samsung",
    "samsung camera pictures",
    "digital camera",
    "digital still camera",
    "digital stillcamera",
    "exif_jpeg_picture",
    "exif_jpeg",
    "exif jpeg",
    "exif-jpeg-picture",
    "jpeg picture",
    "binary comment",
    "created by imlib",
    "created with gimp",
    "created with the gimp",
    "iclarified",
    "dvc 10.1 hdmi",
    "lead technologies inc. v1.01",
    "intel(r) jpeg library",
    "default",
    "dcim",
)
_PATTERNS = (
    rf"(?:{_MAKERS})(?: corporation)? digital (?:still ?)?camera",
    r"kodak (?:easyshare )?[a-z]{0,3}\d{2,4}[a-z]?(?: zoom)? digital (?:still )?camera",
    r"dcim[\\/]+\d{3}[\w-]*(?:[\\/]+[\w-]+\.\w{3,4})?",  # DCIM\100MEDIA\DJI_0001.JPG, DCIM\100GOPRO
    r"(?:dji|gopr|gp)_?\d{3,}\.(?:jpe?g|dng)",
    r"<\s*(?:digimax|kenox|samsung)[^<>]*>",  # <Digimax S600 / Kenox S600 / Digimax Cyber 630>
    r"pentax (?:optio|[a-z*]+-?\d)[\w -]{0,12}",
)
_CODES = (
    "rhdr hdrpl hdr sdr sdr_HDRB sdr_HDRA oznor oznorWO ozedf ozmlh nor cof cofWO qrf fshbty frontbhdp fbt fbtn fbthdr "
    "fbt_soft rbt rbtr btr btf btfmdn btfhdr btf_soft ptr ptfbty ptrbty rpt burst dav dav_soft mde mde_soft edf edfmdn "
    "frem fbtmdn rbtmdn rptmdn rptbty cofptr norptr mlh oznorptr"
).split()
_AUTOMATIC = re.compile("|".join([*map(re.escape, _TEXTS), *_PATTERNS]), re.IGNORECASE)
_CHARSET = re.compile(r'charset\s*=\s*"?(?:ascii|unicode|jis)"?\s*', re.IGNORECASE)


def is_automatic(text: str) -> bool:
    """Return whether a description is only what a camera or a program writes by itself; False for an empty text."""
    text = text.strip().strip("\0").strip()
    prefix = _CHARSET.match(text)
    if prefix:
        rest = text[prefix.end() :]
        return not rest or is_automatic(rest)
    return text in _CODES or _AUTOMATIC.fullmatch(" ".join(text.split())) is not None
