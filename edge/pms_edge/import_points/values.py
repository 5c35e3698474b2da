"""Cells of a vendor's table as what a register map says. Each raises ValueError for what it is
not sure of: nothing is guessed.
"""

import re
from typing import NamedTuple

from pms_edge.profiles.points import LONG_ORDERS, WORDS

BLANK = frozenset({"", "-", "--", "/", "\\", "—", "无", "n/a", "none", "null"})
FUNCTION_KINDS = {1: "coil", 2: "discrete", 3: "holding", 4: "input"}
MODICON_KINDS = {"0": "coil", "1": "discrete", "3": "input", "4": "holding"}

_TYPES = {
    "u16": "u16 uint16 uint word unsigned16 unsignedint unsignedint16 unsignedshort ushort 无符号整数 无符号整型 无符号 字",
    "i16": "i16 s16 int16 int short signed16 signedint signedint16 integer sint16 有符号整数 有符号整型 有符号 整型 整数",
    "u32": "u32 uint32 dword udint unsigned32 ulong unsignedlong uint32 双字 无符号长整型 无符号双字",
    "i32": "i32 s32 int32 dint long signed32 signedlong 长整型 双整型 双整数 有符号长整型 有符号双字",
    "u64": "u64 uint64 ulint qword unsigned64",
    "i64": "i64 s64 int64 lint longlong signed64",
    "f32": "f32 float float32 real real32 single ieee754 浮点 浮点数 浮点型 单精度 单精度浮点 单精度浮点数 单精度浮点型",
    "f64": "f64 double float64 real64 lreal 双精度 双精度浮点 双精度浮点数 双精度浮点型",
    "bit": "bit bool boolean binary digital di 位 开关量 布尔 布尔型 布尔量 开关",
    "bcd16": "bcd bcd16 bcd码", "bcd32": "bcd32 dbcd", "bcd64": "bcd64",
    "string": "string ascii char str text 字符串 字符 文本 字符型",
}  # fmt: skip
_TYPE_OF = {word: kind for kind, words in _TYPES.items() for word in words.split()}
_ORDERS = {
    "ABCD": "big bigendian 大端 大端模式 高字在前 高位在前 高字节在前",
    "DCBA": "little littleendian 小端 小端模式",
    "CDAB": "wordswap wordswapped lowwordfirst 低字在前 低位字在前 字交换",
    "BADC": "byteswap byteswapped bigendianbyteswap 字节交换",
}
_ORDER_OF = {word: order for order, words in _ORDERS.items() for word in words.split()}


class Place(NamedTuple):
    """Where a value is: wire address from 0, kind and bit where the address says them."""

    address: int
    kind: str | None = None
    bit: int | None = None
    last: int | None = None


def place_of(text: str, *, base: int, modicon: bool, hexadecimal: bool) -> Place:
    """40001, 4x0001, 400001, 0x1010, 1010H, 100, each with a bit (`.5`) or an end (`-40002`)."""
    match = re.fullmatch(r"(.+?)(?:[.。](\d{1,2}))?(?:\s*[-~～—至]\s*(.+))?", text.strip())
    if not match:
        raise ValueError(f"{text!r} is no register address")
    place = _address(match[1], text, base=base, modicon=modicon, hexadecimal=hexadecimal)
    bit = int(match[2]) if match[2] else None
    if bit is not None and bit > 15:
        raise ValueError(f"bit {bit} is not within 0..15")
    if match[3]:
        end = _address(match[3], text, base=base, modicon=modicon, hexadecimal=hexadecimal)
        return place._replace(bit=bit, last=end.address)
    return place._replace(bit=bit)


def _address(text: str, whole: str, *, base: int, modicon: bool, hexadecimal: bool) -> Place:
    bare = text.strip().replace(" ", "")
    reference = re.fullmatch(r"([0134])[xX](\d{1,5})", bare)
    if reference and not (reference[1] == "0" and hexadecimal):
        kind, digits = MODICON_KINDS[reference[1]], reference[2]
        if reference[1] != "0":
            return _checked(int(digits) - 1, whole, kind)
    for pattern in (
        r"0[xX]([0-9A-Fa-f]{1,4})",
        r"([0-9A-Fa-f]{1,5})[hH]",
        r"16#([0-9A-Fa-f]{1,4})",
    ):
        match = re.fullmatch(pattern, bare)
        if match:
            return _checked(int(match[1], 16) - base, whole)
    if hexadecimal and re.fullmatch(r"[0-9A-Fa-f]{1,4}", bare):
        return _checked(int(bare, 16) - base, whole)
    if not re.fullmatch(r"\d{1,6}", bare):
        raise ValueError(f"{whole!r} is no Modbus register address")
    if modicon:
        return _checked(int(bare[1:]) - 1, whole, MODICON_KINDS[bare[0]])
    return _checked(int(bare) - base, whole)


def _checked(address: int, text: str, kind: str | None = None) -> Place:
    if not 0 <= address <= 65535:
        raise ValueError(f"{text!r} is wire address {address}, which is not within 0..65535")
    return Place(address, kind)


def looks_modicon(texts: list[str]) -> bool:
    """Whether plain numbers are 40001-style references: all of 5 or all of 6 digits, 0/1/3/4 first,
    with 3xxxx or 4xxxx among them.
    """
    plain = [re.split(r"[.。~～—-]", text.strip())[0] for text in texts]
    plain = [text for text in plain if text.isascii() and text.isdigit()]
    same = len({len(text) for text in plain}) == 1 and len(plain[0]) in (5, 6)
    firsts = {text[0] for text in plain}
    return bool(plain) and same and firsts <= MODICON_KINDS.keys() and bool(firsts & {"3", "4"})


def type_of(text: str) -> tuple[str, str | None]:
    """Type and, where the cell says it too (`FLOAT CDAB`), the order."""
    order = re.search(r"\b(?:[A-D]{4}|[A-H]{8})\b", text.upper())
    rest = text.upper().replace(order[0], "") if order else text
    word = re.sub(r"[\s_\-()（）\[\]]", "", rest).lower()
    kind = _TYPE_OF.get(word) or _described(word)
    if not kind:
        raise ValueError(f"{text!r} is no known data type")
    return kind, order_of(order[0]) if order else None


def _described(word: str) -> str | None:
    """`无符号16位`, `32位浮点数`, `16bit signed`."""
    bits = re.search(r"(16|32|64)", word)
    if not bits:
        return None
    if "浮点" in word or "float" in word or "real" in word:
        return {"32": "f32", "64": "f64"}.get(bits[1])
    if "bcd" in word:
        return f"bcd{bits[1]}"
    if "无符号" in word or "unsigned" in word or "uint" in word:
        return f"u{bits[1]}"
    if "有符号" in word or "带符号" in word or "signed" in word:
        return f"i{bits[1]}"
    if word in (f"{bits[1]}位", f"{bits[1]}bit", f"{bits[1]}bits", bits[1]):
        raise ValueError(
            f"{word!r} does not say whether it is signed: write INT{bits[1]} or UINT{bits[1]}"
        )
    return None


def order_of(text: str) -> str | None:
    if text.strip().lower() in BLANK:
        return None
    word = re.sub(r"[\s_\-]", "", text)
    upper = LONG_ORDERS.get(word.upper(), word.upper())
    if len(upper) in (4, 8) and sorted(upper) == sorted("ABCDEFGH"[: len(upper)]):
        return upper
    if word.upper() in ("AB", "BA"):
        return "ABCD" if word.upper() == "AB" else "BADC"
    if word.lower() not in _ORDER_OF:
        raise ValueError(f"{text!r} is no byte order such as ABCD or CDAB")
    return _ORDER_OF[word.lower()]


def scale_of(text: str, *, either_way: bool) -> tuple[float, str]:
    """Scale and, where the cell has it (`0.1V`), the unit. `either_way`: a plain 10 may mean /10."""
    bare = text.strip()
    if bare.lower() in BLANK:
        return 1.0, ""
    places = re.fullmatch(r"(\d)\s*(?:位小数|decimals?)", bare)
    if places:
        return float(f"1e-{places[1]}"), ""
    match = re.fullmatch(
        r"(除以|除|÷|/|1/|1:|乘以|乘|[×xX*])?\s*([+-]?\d+(?:\.\d+)?(?:[eE]-?\d+)?)\s*([^\d\s.]*)",
        bare,
    )
    if not match:
        raise ValueError(f"{text!r} is no scale such as 0.1 or /10")
    number = float(match[2])
    if number == 0:
        raise ValueError("scale 0 would make every value the same")
    divided = match[1] in ("除以", "除", "÷", "/", "1/", "1:")
    if either_way and not match[1] and abs(number) > 1:
        raise ValueError(
            f"{text!r} may mean times or divided by {match[2]}: write x{match[2]} or /{match[2]}"
        )
    return (float(f"{1 / number:.12g}") if divided else number), match[3]


def number_of(text: str) -> float | None:
    if text.strip().lower() in BLANK:
        return None
    try:
        return float(text.replace(",", ""))
    except ValueError as error:
        raise ValueError(f"{text!r} is no number") from error


def range_of(text: str) -> tuple[float, float] | None:
    if text.strip().lower() in BLANK:
        return None
    match = re.fullmatch(
        r"[\[(]?\s*([+-]?\d+(?:\.\d+)?)\s*(?:~|～|-|—|至|到|to|\.\.+|,)\s*([+-]?\d+(?:\.\d+)?)\s*\D{0,6}",
        text.strip(),
    )
    if not match:
        raise ValueError(f"{text!r} is no range such as 0~100")
    return float(match[1]), float(match[2])


def kind_of_function(text: str) -> str | None:
    """Kind of register by the code that reads it; None for codes that only write."""
    if text.strip().lower() in BLANK:
        return None
    codes = [int(code) for code in re.findall(r"\d+", text.lower().replace("0x", ""))]
    kinds = [FUNCTION_KINDS[code] for code in codes if code in FUNCTION_KINDS]
    if not kinds:
        raise ValueError(f"{text!r} holds no function code that reads (1 to 4)")
    return kinds[0]


def writes_only(text: str) -> bool:
    return re.sub(r"\s", "", text).lower() in {
        "w",
        "wo",
        "writeonly",
        "write",
        "写",
        "只写",
        "可写",
    }


def words_of(kind: str) -> int:
    return WORDS.get(kind, 1)
