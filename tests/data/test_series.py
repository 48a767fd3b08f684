import numpy as np
import pytest
from numpy.testing import assert_array_equal

from numgru.data import DataError, Series, load_co2, read_csv
from numgru.data.series import next_dates


@pytest.fixture
def write(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "series.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


def test_co2_is_the_weekly_record():
    series = load_co2()
    assert len(series) == 2284
    assert series.dates.dtype == np.dtype("datetime64[D]")
    assert (str(series.dates[0]), str(series.dates[-1])) == ("1958-03-29", "2001-12-29")
    assert (np.diff(series.dates) == np.timedelta64(7, "D")).all()
    assert (series.values[0], series.values[-1]) == (316.1, 371.5)
    assert series.values.dtype == np.float64
    assert 310 < series.values.min() < series.values.max() < 375


def test_co2_says_how_its_gaps_were_filled():
    series = load_co2()
    assert series.filled.sum() == 59
    assert "59 of 2284" in series.note and "22 gaps" in series.note and "interpolated" in series.note
    assert series.values[6] == (316.9 + 317.5) / 2  # the week of 10 May 1958, between its neighbours


def test_gaps_inside_are_interpolated_and_those_at_the_ends_cut(write):
    series = read_csv(write('a\nNaN\n1\nnull\n""\n4\nNA\n'), "a")
    assert series.values.tolist() == [1, 2, 3, 4]
    assert series.filled.tolist() == [False, True, True, False]
    assert "2 of 4" in series.note and "in one gap" in series.note and "2 empty rows" in series.note


@pytest.mark.parametrize(
    ("rows", "filled", "words"),
    [
        ("1\n NA \n3\nNone\n5", [0, 1, 0, 1, 0], "2 of 5 values were missing, in 2 gaps"),
        ("1\nNaN\nnull\n4", [0, 1, 1, 0], "2 of 4 values were missing, in one gap"),
        ("1\nn/a\n3", [0, 1, 0], "1 of 3 values was missing"),
    ],
)
def test_cells_without_a_value(rows, filled, words, write):
    lines = enumerate(rows.split("\n"), 10)
    series = read_csv(write("day, a\n" + "".join(f"2020-01-{day},{cell}\n" for day, cell in lines)), "a")
    assert series.filled.tolist() == filled and words in series.note


def test_a_gap_makes_another_series(write):
    whole, gap = (read_csv(write(f"a\n1\n{cell}\n3\n")) for cell in ("2", ""))
    assert (whole.values == gap.values).all() and whole.crc32() != gap.crc32()


def test_dates_are_found_and_cut_with_the_gaps(write):
    series = read_csv(write("day,a,b\n2020-01-31,,x\n2020-02-01,5,y\n2020-02-02,6,z\n"), "a")
    assert series.dates.tolist() == np.array(["2020-02-01", "2020-02-02"], "datetime64[D]").tolist()


@pytest.mark.parametrize("text", ["a\n1200\n1300\n", "day,a\n2020-01,1200\n2020-02,1300\n"])
def test_the_only_column_needs_no_name(write, text):
    assert read_csv(write(text)).values.tolist() == [1200, 1300]


def test_byte_order_mark(write):
    assert read_csv(write("a\r\n1\r\n2\r\n", "utf-8-sig"), "a").values.tolist() == [1, 2]


@pytest.mark.parametrize("end", ["", "\n", "\n\n\r\n"])
def test_a_blank_line_is_a_gap_of_the_only_column(write, end):
    series = read_csv(write("\na\n1\n\n4\n\n\n7" + end))
    assert series.values.tolist() == [1, 2.5, 4, 5, 6, 7]
    assert "3 of 6" in series.note and "rows" not in series.note
    assert read_csv(write("a,b\n\n1,2\n\n3,4\n" + end), "b").values.tolist() == [2, 4]


def test_the_first_row_is_counted_in_the_file(write):
    assert read_csv(write("a\n1\n2\n")).first_row == 0
    series = read_csv(write("a\n\nNaN\n1\n\n2\nNaN\n"))
    assert (series.first_row, len(series)) == (2, 3)


@pytest.mark.parametrize("cell", ["", "2020-01-03T00:00:00Z", "03/01/2020", "2020-13-01"])
def test_a_cell_that_is_no_date_among_dates_is_named(write, cell):
    text = f"day,a\n2020-01-01,1\n2020-01-02,2\n{cell},3\n2020-01-04,4\n"
    with pytest.raises(DataError, match=rf"line 4: expected a date in column 'day'.*, got '{cell}'; correct"):
        read_csv(write(text), "a")
    with pytest.raises(DataError, match="line 4: expected a date"):
        read_csv(write(text))


def test_dates_with_gaps_do_no_harm_beside_whole_ones(write):
    series = read_csv(write("seen,a,day\n2020-01-01,1,2021-01\n2020-01-01,2,2021-02\n,3,2021-03\n"), "a")
    assert str(series.dates[0]) == "2021-01"


def test_a_column_with_some_dates_is_none_of_dates(write):
    assert read_csv(write("seen,a\n2020-01-01,1\n,2\nnever,3\n"), "a").dates is None


def test_month_13_is_no_date(write):
    assert read_csv(write("day,a\n2020-13-01,1\n2020-14-01,2\n"), "a").dates is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a header line and rows below it, got nothing"),
        ("a\n", "expected a header line and rows below it, got one line"),
        ("b,c\n1,2\n", "no column 'a'; the file has 'b', 'c'"),
        ("a,a\n1,2\n", "more than one column 'a'"),
        ("a\n1\ntwo\n", "line 3: expected a number in column 'a', got 'two'"),
        ('a,b\n1,"x\ny"\ntwo,z\n', "line 4: expected a number"),
        ("a\n1\ninf\n", "line 3: expected a number in column 'a', got 'inf'; correct the cell"),
        ("a\n1\n-1e307\n", "a: expected values below 1e+150, got one of 1e+307; give them in a larger unit"),
        ("a,b\n1,2\n3\n", "line 3: expected 2 cells as in the header, got 1"),
        ("a\n1\n2,3\n", "line 3: expected 1 cell as in the header, got 2"),
        ("a\n1\n2,3\n", "got 2; write decimals with a point"),
        ("a;b\n1,5;2\n", "expected commas between the cells, got semicolons; write commas there, and decimals with"),
        ("date;a\n2020-01-01;1\n", "expected commas between the cells, got semicolons"),
        ("date\ta\n2020-01-01\t1\n", "expected commas between the cells, got tabs"),
        ('b,a\n1,"1,5"\n', "line 2: expected a number in column 'a', got '1,5'; write decimals with a point"),
        (
            "a\n1_000\n",
            "line 2: expected a number in column 'a', got '1_000'; write decimals with a point, and",
        ),
        ("a\nnan\nnan\n", "got only gaps"),
        ("day,a\n2020-01-02,1\n2020-01-01,2\n", "line 3: expected dates that ascend"),
    ],
)
def test_a_bad_file_is_one_clear_line(write, text, message):
    with pytest.raises(DataError) as caught:
        read_csv(write(text), "a")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_without_a_column_the_choice_is_listed(write):
    with pytest.raises(DataError, match=r"which column.*'a', 'b'"):
        read_csv(write("day,a,b\n2020-01-01,1,2\n"))


def test_first_line_that_is_data_is_not_taken_for_names(write):
    text = "2020-01-01,103.5\n2020-01-02,7\n"
    with pytest.raises(DataError, match=r"line 1: expected the names of the columns, got '103\.5'"):
        read_csv(write(text))
    assert read_csv(write(text), "103.5").values.tolist() == [7]  # whoever asks for such a column has one


def test_missing_folder_and_binary_files(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        read_csv(tmp_path / "none.csv", "a")
    with pytest.raises(DataError, match="can't be read"):
        read_csv(tmp_path, "a")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(DataError, match="UTF-8"):
        read_csv(tmp_path / "binary.csv", "a")


def test_a_series_ends_in_measured_values_of_a_size_to_compute_with():
    values = np.arange(3.0)
    assert_array_equal(Series("s", values, np.array([False, True, False])).measured, [0, np.nan, 2])
    for filled in ([True, False, False], [False, False, True]):
        with pytest.raises(DataError, match="a measured value at both ends"):
            Series("s", values, np.array(filled))
    with pytest.raises(DataError, match=r"s: expected values below 1e\+150, got one of 2e\+307; .* larger unit"):
        Series("s", 1e307 * values, np.zeros(3, bool))


@pytest.mark.parametrize(
    ("dates", "following"),
    [
        (["2020-01-01", "2020-01-08"], ["2020-01-15", "2020-01-22"]),
        (["2019-11-15", "2019-12-15", "2020-01-15"], ["2020-02-15", "2020-03-15"]),
        (["2020-11", "2020-12"], ["2021-01", "2021-02"]),
        (["2020-10-30", "2020-11-30", "2020-12-30"], ["2021-01-30", "2021-02-28"]),
        (["2020-11-29 05:00", "2020-12-29 05:00", "2021-01-29 05:00"], ["2021-02-28 05:00", "2021-03-29 05:00"]),
        (["2020-01-01 22:00", "2020-01-01 23:00"], ["2020-01-02 00:00", "2020-01-02 01:00"]),
        (["2020-01-31 22:00", "2020-01-31 23:00"], ["2020-02-01 00:00", "2020-02-01 01:00"]),
        (["2001-01-31", "2001-02-28", "2001-03-31"], ["2001-04-30", "2001-05-31"]),
        (["2001-03-31", "2001-06-30", "2001-09-30"], ["2001-12-31", "2002-03-31"]),
        (["2001-06-30", "2001-09-30"], ["2001-12-31", "2002-03-31"]),
        (["2002-02-28", "2003-02-28"], ["2004-02-29", "2005-02-28"]),
        (["2001-12-30", "2002-01-30", "2002-02-28"], ["2002-03-30", "2002-04-30"]),
        (["2001-07-15", "2001-08-15", "2001-09-15"], ["2001-10-15", "2001-11-15"]),
        (["2001-12-31", "2002-12-31", "2003-12-31"], ["2004-12-31", "2005-12-31"]),
        (["2001-01-31", "2001-02-01"], ["2001-02-02", "2001-02-03"]),
    ],
)
def test_next_dates(dates, following):
    assert next_dates(np.array(dates, "datetime64"), 2).tolist() == np.array(following, "datetime64").tolist()


def test_one_date_has_no_next():
    assert next_dates(np.array(["2020-01-01"], "datetime64"), 1) is None


def test_uneven_dates_have_no_next(write):
    series = read_csv(write("day,a\n2020-01-01,1\n2020-01-02,2\n2020-01-05,3\n"), "a")
    assert next_dates(series.dates, 1) is None
    assert "unevenly spaced" in series.note
