"""Features that browsers only provide on secure pages are used in one file, which has an alternative for each."""

import re
from pathlib import Path

import pytest

STATIC = Path(__file__).resolve().parents[2] / "static" / "chat"
#: The only file that may use them.
PLATFORM = "platform.js"
#: What is missing, or fails, on a page that came over plain HTTP from another machine. A further one is a line.
SECURE_ONLY = (
    r"randomUUID",
    r"crypto\.subtle",
    r"navigator\.clipboard",
    r"ClipboardItem",
    r"\bNotification\b(?!s)",
    r"\bnavigator\b.*credentials|credentials\b.*\bnavigator\b",
    r"\bPublicKeyCredential\b",
    r"navigator\.(?:bluetooth|credentials|geolocation|gpu|hid|keyboard|locks|mediaDevices|permissions|serial|serviceWorker|share|storage|usb|wakeLock|xr)\b",
    r"\bcaches\b",
    r"\bcookieStore\b",
    r"show(?:Open|Save)FilePicker|showDirectoryPicker",
    r"\bgetScreenDetails\b",
    r"\bIdleDetector\b",
    r"\bPaymentRequest\b",
    r"\bPushManager\b",
    r"\bSharedArrayBuffer\b",
    r"\bEyeDropper\b",
    r"\bqueryLocalFonts\b",
)


def code(path: Path) -> str:
    """A script without its comments and strings."""
    text = re.sub(r"/\*.*?\*/", "", path.read_text("utf-8"), flags=re.DOTALL)
    text = re.sub(r'"(?:[^"\\\n]|\\.)*"', '""', text)
    return re.sub(r"(?<!:)//.*", "", text)


@pytest.mark.parametrize("part", SECURE_ONLY)
def test_only_one_file_asks_for_it(part: str) -> None:
    found = [path.name for path in STATIC.glob("**/*.js") if re.search(part, code(path))]
    assert found in ([], [PLATFORM])


def test_the_search_finds_what_there_is() -> None:
    used = [part for part in SECURE_ONLY if re.search(part, code(STATIC / "lib" / PLATFORM))]
    assert used == [
        r"navigator\.clipboard",
        r"ClipboardItem",
        r"\bNotification\b(?!s)",
        r"\bnavigator\b.*credentials|credentials\b.*\bnavigator\b",
        r"\bPublicKeyCredential\b",
    ]
