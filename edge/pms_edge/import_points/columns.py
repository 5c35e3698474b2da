"""Which column of a vendor's table says what, in Chinese and English."""

import re
from collections.abc import Sequence
from typing import Literal

Column = Literal[
    "name", "label", "address", "type", "scale", "gain", "offset", "unit", "access",
    "function", "order", "bit", "length", "low", "high", "range",
]  # fmt: skip

TITLES: dict[Column, str] = {
    "name": """name point pointname tag tagname variable variablename symbol key id
        变量名 变量名称 标识符 标识 标签 点名 位号 测点编码 英文名 英文名称 字段 字段名""",
    "label": """description desc label parameter parametername item signal signalname comment remark
        meaning definition registername 名称 中文名 中文名称 参数 参数名 参数名称 点位名称 测点名称 测点
        数据名称 说明 描述 含义 内容 信号名称 注释 备注 数据项 定义 数据含义""",
    "address": """address addr register registeraddress regaddr reg modbusaddress registerno
        registernumber modbusregister startaddress
        地址 寄存器 寄存器地址 寄存器号 寄存器编号 modbus地址 点位地址 起始地址 通讯地址 通信地址 plc地址
        数据地址 参数地址 首地址""",
    "type": """type datatype dataformat format vartype 数据类型 类型 数据格式 变量类型 格式 数值类型""",
    "scale": """scale scaling factor scalefactor multiplier coefficient resolution
        比例 系数 比例系数 缩放 缩放系数 分辨率 换算 换算系数 换算关系 转换系数""",
    # Whether 10 means times or divided by 10 differs between vendors.
    "gain": "gain ratio magnification 倍率 倍数 放大倍数 精度 变比 小数位 小数点",
    "offset": "offset 偏移 偏移量 零点 偏置",
    "unit": "unit units uom 单位 工程单位 计量单位",
    "access": "access rw readwrite permission attribute 读写 权限 读写属性 读写权限 属性 操作 读写性",
    "function": "function functioncode fc func code 功能码 读功能码 功能代码",
    "order": "order byteorder wordorder endian endianness 字节序 字节顺序 字序 高低位 高低字节 大小端",
    "bit": "bit bitno bitnumber bitoffset bitposition 位 bit位 位序号 位偏移 位地址",
    "length": """length len size registers quantity words numberofregisters count
        长度 寄存器数 寄存器数量 寄存器个数 字数 数量 寄存器长度 字长""",
    "low": "min minimum low lower lowerlimit 最小值 最小 下限 量程下限",
    "high": "max maximum high upper upperlimit 最大值 最大 上限 量程上限",
    "range": "range validrange 范围 量程 取值范围 数据范围 有效范围",
}
_COLUMN_OF: dict[str, Column] = {
    title: column for column, titles in TITLES.items() for title in titles.split()
}
HEX = re.compile(r"hex|十六进制|16进制", re.IGNORECASE)


def columns_of(titles: Sequence[str]) -> dict[Column, int]:
    """Place of each column that `titles` name; empty when they are not the header of a table."""
    places: dict[Column, int] = {}
    for place, title in enumerate(titles):
        column = _COLUMN_OF.get(_plain(title))
        if column and column not in places:
            places[column] = place
    known = len(places) >= 2 and "address" in places
    return places if known and places.keys() & {"name", "label", "type"} else {}


def _plain(title: str) -> str:
    """Without remarks in brackets, spaces and punctuation: `Data Type (16 bit)` is datatype."""
    bare = re.sub(r"[(（\[【].*?[)）\]】]", "", title)
    return re.sub(r"[\s_\-./:：*#]", "", bare).lower()
