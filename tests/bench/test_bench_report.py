from bench.report import Report, Table, number


def report() -> Report:
    return Report(
        bench="line",
        figure="things_per_s",
        value=1234.5,
        unit="things/s",
        limit_name="the wire",
        limit=2469.0,
        ratio=0.5,
        named={"things_per_s": 1234.5, "lost": 0},
        tables=[Table(title="rounds", head=("round", "rate"), rows=[("first", 1234.5), ("second", None)])],
        notes=["measured on paper"],
    )


def test_a_program_reads_figure_unit_limit_and_ratio_from_one_object() -> None:
    told = report().to_object()
    assert {"figure", "value", "unit", "limit", "limit_name", "ratio", "things_per_s"} <= told.keys()
    assert told["tables"]["rounds"][1] == {"round": "second", "rate": None}


def test_a_person_reads_the_figure_first_and_each_row() -> None:
    lines = report().lines()
    assert lines[0] == "line: things_per_s 1,234 things/s"
    assert any("ratio 0.50" in line for line in lines)
    assert any(line.split() == ["second", "-"] for line in lines)


def test_numbers_show_no_more_digits_than_they_deserve() -> None:
    assert [number(value) for value in (12345.6, 12.34, 0.01234, 7, None, "x")] == [
        "12,346",
        "12.3",
        "0.0123",
        "7",
        "-",
        "x",
    ]
