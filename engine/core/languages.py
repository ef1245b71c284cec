"""Languages that captions can be asked for: names, and the codes of ISO 639-1 for the common ones."""

import re

from engine.core.errors import UsageError

_NAMES = {
    "ar": "Arabic", "bg": "Bulgarian", "bn": "Bengali", "ca": "Catalan", "cs": "Czech", "da": "Danish", "de": "German",
    "el": "Greek", "en": "English", "es": "Spanish", "et": "Estonian", "eu": "Basque", "fa": "Persian", "fi": "Finnish",
    "fr": "French", "ga": "Irish", "gl": "Galician", "he": "Hebrew", "hi": "Hindi", "hr": "Croatian", "hu": "Hungarian",
    "id": "Indonesian", "is": "Icelandic", "it": "Italian", "ja": "Japanese", "ko": "Korean", "lt": "Lithuanian",
    "lv": "Latvian", "ms": "Malay", "nb": "Norwegian", "nl": "Dutch", "no": "Norwegian", "pl": "Polish",
    "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "sk": "Slovak", "sl": "Slovenian", "sr": "Serbian",
    "sv": "Swedish", "sw": "Swahili", "ta": "Tamil", "th": "Thai", "tr": "Turkish", "uk": "Ukrainian", "ur": "Urdu",
    "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip
_NAME = re.compile(r"[^\W\d_][\w ()'’-]{1,39}")


def language_name(text: str) -> str:
    """Return the English name of a language that a user gives by name or code; "" for English, which is the default.

    A name that is not in the list is passed on to the VLM as it is.

    Raises:
        UsageError: the text cannot be a language.
    """
    given = " ".join(text.split())
    code = given.casefold().split("-")[0].split("_")[0]
    known = {name.casefold(): name for name in _NAMES.values()}
    name = _NAMES.get(code) or known.get(given.casefold()) or given
    if len(name) < 3 or not _NAME.fullmatch(name):
        raise UsageError(f"{text!r} is not a language", hint="Give a name or a code, such as German or de.")
    return "" if name == "English" else name
