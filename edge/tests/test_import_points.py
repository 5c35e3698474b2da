"""Vendors' point tables, as they come, become register maps."""

import subprocess
import sys
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pms_edge.config.check import check_file
from pms_edge.config.located import Document
from pms_edge.import_points.rows import Options, read_rows
from pms_edge.import_points.table import Row, Table, UnreadableError, read_table
from pms_edge.import_points.values import order_of, place_of, range_of, scale_of, type_of
from pms_edge.profiles.profile import load_profile

CHINESE = """\
恒压供水设备通讯点表,,,,,,,
版本,V1.3,,,,,,
序号,变量名称,寄存器地址,数据类型,系数,单位,读写,说明
1,outlet_p,40001,无符号16位,0.001,MPa,R,出口压力
2,set_p,40002,无符号16位,0.001,MPa,R/W,设定压力
3,,40003,有符号16位,0.1,℃,R,泵房温度
4,P1频率,40011,UINT16,除以100,Hz,R,1号泵频率
5,p1_run,40021.0,BOOL,,,R,1号泵运行
6,p1_fault,40021.10,位,,,R,1号泵故障
7,电能,40031,32位浮点数,,kWh,R,
8,volume,40033-40034,DWORD,×0.1,m³,R,累计流量
一、命令区,,,,,,,
9,start,40101,UINT16,,,W,启动命令
10,备用,40102,UINT16,,,R,备用
"""
ENGLISH = """\
Name;Register (hex);Data Type;Scale;Unit;Function Code;Min;Max;Description
Output Frequency;1001H;UINT16;0.01;Hz;03;0;400;drive output
DC bus;0x1002;UINT16;0.1;V;03;0;1500;
status;3000;INT16;;;03;;;1 fwd, 2 rev, 3 stop
total;1010;FLOAT CDAB;;kWh;04;;;
"""


def imported(table: Path, *more: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    output = table.with_suffix(".yaml")
    command = [sys.executable, "-m", "pms_edge", "import-points", str(table), "-o", str(output)]
    command += ["--measurement", "water_pump", "--profile", "mine.v1", *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=30), output


def points_of(output: Path):
    assert check_file(output, {}) == []
    profile = load_profile(Document(output))
    assert profile is not None
    return {p.name: p for p in profile.points}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030", "utf-16"])
def test_a_chinese_table_in_any_encoding(tmp_path, encoding):
    table = tmp_path / "点表.csv"
    table.write_bytes(CHINESE.encode(encoding))
    done, output = imported(table)
    assert done.returncode == 0, done.stdout
    points = points_of(output)
    assert set(points) == {
        "outlet_p", "set_p", "p_2", "p_10", "p1_run", "p1_fault", "p_30", "volume",
    }  # fmt: skip
    assert (points["outlet_p"].address, points["outlet_p"].scale) == (0, 0.001)
    assert (points["p_2"].type, points["p_10"].scale) == ("i16", 0.01)
    assert (points["p1_fault"].address, points["p1_fault"].bit) == (20, 10)
    assert (points["p_30"].type, points["volume"].end - points["volume"].address) == ("f32", 2)
    assert "# 40003 泵房温度" in output.read_text("utf-8")
    assert f"{table}:13: write-only" in done.stdout
    assert f"{table}:14: reserved" in done.stdout


def test_an_english_table_with_hexadecimal_addresses_and_function_codes(tmp_path):
    table = tmp_path / "drive.csv"
    table.write_text(ENGLISH)
    done, output = imported(table)
    assert done.returncode == 0, done.stdout
    points = points_of(output)
    frequency = points["output_frequency"]
    assert (frequency.address, frequency.scale, frequency.range) == (0x1001, 0.01, (0, 400))
    assert (points["status"].address, points["status"].type) == (0x3000, "i16")
    assert (points["total"].kind, points["total"].order) == ("input", "CDAB")


def test_an_excel_table(tmp_path):
    book, table = openpyxl.Workbook(), tmp_path / "点表.xlsx"
    book.active.append(["封面"])
    sheet = book.create_sheet("点表")
    sheet.append(["名称", "地址", "类型", "倍率", "单位"])
    sheet.append(["进水压力", 100, "INT16", 0.01, "bar"])
    sheet.append(["运行", "102.3", "BOOL", None, None])
    sheet.append(["流量", 103, "REAL", "/10", "m³/h"])
    book.save(table)
    done, output = imported(table, "--order", "CDAB")
    assert done.returncode == 0, done.stdout + done.stderr
    points = points_of(output)
    assert (points["p_100"].scale, points["p_102_b3"].bit) == (0.01, 3)
    assert (points["p_103"].order, points["p_103"].scale) == ("CDAB", 0.1)


BAD = """\
name,address,type,倍率
flow,100,FLOAT,
flow,110,FLOAT,
speed,D100,UINT16,
level,120,INT17,ten
power,130,16位,
gain,140,UINT16,10
run,150,BOOL,
,,UINT16,
high,70000,UINT16,
inside,101,UINT16,
"""


def test_every_bad_row_is_named_at_once_and_nothing_is_written(tmp_path):
    table = tmp_path / "bad.csv"
    table.write_text(BAD)
    done, output = imported(table)
    assert done.returncode == 1 and not output.exists()
    said = [line.removeprefix(f"{table}:") for line in done.stdout.splitlines()]
    assert said[:-1] == [
        "3: name: 'flow' is already in row 2",
        "4: address: 'D100' is no Modbus register address",
        "5: type: 'INT17' is no known data type",
        "5: 倍率: 'ten' is no scale such as 0.1 or /10",
        "6: type: '16位' does not say whether it is signed: write INT16 or UINT16",
        "7: 倍率: '10' may mean times or divided by 10: write x10 or /10",
        "8: address: a bit of a register needs its number, such as 3.5",
        "10: address: '70000' is wire address 70000, which is not within 0..65535",
        "11: at: 'inside' overlaps 'flow' in register 101",
    ]


def test_good_rows_still_make_a_profile_when_asked(tmp_path):
    table = tmp_path / "bad.csv"
    table.write_text(BAD)
    done, output = imported(table, "--keep-going")
    assert done.returncode == 1
    assert set(points_of(output)) == {"flow"}


def test_a_file_is_not_overwritten_unless_told(tmp_path):
    table = tmp_path / "drive.csv"
    table.write_text(ENGLISH)
    table.with_suffix(".yaml").write_text("mine")
    done, output = imported(table)
    assert done.returncode == 1 and output.read_text() == "mine"
    assert imported(table, "--force")[0].returncode == 0


def test_a_bit_number_that_a_spreadsheet_may_have_cut_is_asked_for(tmp_path):
    book, table = openpyxl.Workbook(), tmp_path / "bits.xlsx"
    book.active.append(["name", "address", "type"])
    book.active.append(["run", 3.1, "BOOL"])
    book.save(table)
    done, _ = imported(table)
    assert f"{table}:2: address: the number 3.1 may be bit 1 or bit 10" in done.stdout


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "has no row that names an address column"),
        (b"PK\x03\x04 not really", "is no .xlsx file"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "is an old .xls file"),
        (b"\xff\xff\xff\xff\x00", "is neither UTF-8 nor GB 18030"),
        (b"colour,taste\nred,sweet\n", "has no row that names an address column"),
    ],
)
def test_what_is_no_table_is_said_to_be_none(tmp_path, content, says):
    file = tmp_path / "table"
    file.write_bytes(content)
    with pytest.raises(UnreadableError, match=says):
        read_table(file)


@pytest.mark.parametrize(
    ("text", "more", "place"),
    [
        ("40001", {"modicon": True}, (0, "holding", None)),
        ("300010", {"modicon": True}, (9, "input", None)),
        ("4x0001", {}, (0, "holding", None)),
        ("3X00100", {}, (99, "input", None)),
        ("0x1010", {}, (0x1010, None, None)),
        ("1010H", {}, (0x1010, None, None)),
        ("1010", {"hexadecimal": True}, (0x1010, None, None)),
        ("100", {"base": 1}, (99, None, None)),
        ("3.15", {}, (3, None, 15)),
    ],
)
def test_addresses(text, more, place):
    given = {"base": 0, "modicon": False, "hexadecimal": False, **more}
    found = place_of(text, **given)
    assert (found.address, found.kind, found.bit) == place


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("UINT16", "u16"), ("Unsigned Int", "u16"), ("无符号16位整数", "u16"), ("16位无符号", "u16"),
        ("WORD", "u16"), ("S16", "i16"), ("有符号 32 位", "i32"), ("DWORD", "u32"), ("浮点", "f32"),
        ("32位浮点型", "f32"), ("Float64", "f64"), ("64bit unsigned", "u64"), ("BOOL", "bit"),
        ("BCD", "bcd16"), ("REAL", "f32"),
    ],
)  # fmt: skip
def test_types(text, kind):
    assert type_of(text)[0] == kind


def test_orders_scales_and_ranges():
    assert type_of("FLOAT32 (CDAB)") == ("f32", "CDAB")
    assert [order_of(t) for t in ("低字在前", "big-endian", "GHEFCDAB", "-")] == [
        "CDAB", "ABCD", "CDAB", None,
    ]  # fmt: skip
    scales = ["0.1", "×0.1", "/10", "除以10", "1/10", "1位小数", "0.1V", "-"]
    found = [scale_of(text, either_way=False) for text in scales]
    assert [scale for scale, _ in found] == [0.1] * 7 + [1.0]
    assert found[6][1] == "V"
    assert range_of("0~100%") == (0, 100) and range_of("-50 ~ 150") == (-50, 150)


CELLS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["40001", "0x10", "3.5", "BOOL", "FLOAT", "UINT16", "0.1", "/10", "流量", "R"]),
)
TITLES = ["name", "地址", "type", "系数", "unit", "功能码", "bit", "长度", "范围", "字节序"]


@settings(max_examples=200)
@given(st.lists(st.lists(CELLS, min_size=10, max_size=10), max_size=6))
def test_any_row_becomes_a_point_or_a_mistake_that_names_it(rows):
    table = Table(
        dict(zip(["name", "address", "type", "scale", "unit", "function", "bit", "length", "range", "order"], range(10), strict=True)),
        TITLES,
        [Row(i + 2, cells) for i, cells in enumerate(rows)],
    )  # fmt: skip
    found = read_rows("t.csv", table, Options())
    assert {m.line for m in found.mistakes} <= {row.number for row in table.rows}
    assert not {m.line for m in found.mistakes} & {p.row for p in found.points}


@given(st.binary(max_size=200), st.sampled_from([b"", b"PK\x03\x04", "地址,名称\n".encode()]))
def test_any_bytes_are_a_table_or_said_to_be_none(tmp_path_factory, content, head):
    file = tmp_path_factory.getbasetemp() / "garbage.csv"
    file.write_bytes(head + content)
    try:
        read_rows("t.csv", read_table(file), Options(type="u16"))
    except UnreadableError as error:
        assert str(error)
