"""The demo model's Chinese: its texts are written in Traditional Chinese, and converted to Simplified for questions in that."""

import re

_HAN = re.compile("[\u3400-\u9fff]")
_OPEN, _CLOSE = "\ue200", "\ue201"
_QUOTED = re.compile(f"({_OPEN}[^{_CLOSE}]*{_CLOSE})")
#: Words that are different in mainland China; the remaining characters are converted one by one.
_WORDS = {
    "伺服器": "服务器",
    "設定": "设置",
    "設為": "设置为",
    "對話": "会话",
    "內建": "内置",
    "示範": "演示",
    "代理": "智能体",
    "呼叫": "调用",
    "位址": "地址",
    "相容": "兼容",
    "網頁": "网页",
    "啟動": "启动",
    "這則訊息": "这条消息",
    "「": "“",
    "」": "”",
}
_LETTERS = str.maketrans(
    "來個們內則動問啟嗎實尋對幾從憑應數時會東樣沒測為無爾現結給經網編臺與裡訊討設試話該說談請論讀這連週過開間關頁題麼點齊紐約範倫歷灣磯詢稱頭覆後於",
    "来个们内则动问启吗实寻对几从凭应数时会东样没测为无尔现结给经网编台与里讯讨设试话该说谈请论读这连周过开间关页题么点齐纽约范伦历湾矶询称头复后于",
)

#: Characters that are in Taiwan's set, too, but that nobody there writes in such questions.
_SHORT = frozenset("几么个与从无尔")


def speaks_chinese(text: str) -> bool:
    """Whether to answer in Chinese."""
    return _HAN.search(text) is not None


def quote_text(text: str) -> str:
    """Mark a quotation, which is not converted. `finish_reply` removes the marks."""
    return f"{_OPEN}{text}{_CLOSE}"


def finish_reply(question: str, reply: str) -> str:
    """The reply in the script of the question; if that is unclear, in Traditional."""
    parts = _QUOTED.split(reply)
    if _is_simplified(question):
        parts = [part if part.startswith(_OPEN) else _simplified(part) for part in parts]
    return "".join(parts).replace(_OPEN, "").replace(_CLOSE, "")


def _is_simplified(text: str) -> bool:
    """Whether more of its characters are only in the mainland's oldest set than only in Taiwan's."""
    letters = _HAN.findall(text)
    mainland = sum(letter in _SHORT or (_is_in("gb2312", letter) and not _is_in("big5", letter)) for letter in letters)
    taiwan = sum(_is_in("big5", letter) and not _is_in("gb2312", letter) for letter in letters)
    return mainland > taiwan


def _is_in(encoding: str, letter: str) -> bool:
    try:
        letter.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _simplified(text: str) -> str:
    for word, other in _WORDS.items():
        text = text.replace(word, other)
    return text.translate(_LETTERS)
