from pathlib import Path

from internlm2_records.cards import MARK, section_of, size_category, table, write_card


def test_a_card_is_replaced_unless_it_is_somebody_elses(tmp_path: Path) -> None:
    assert write_card(tmp_path, "a: 1", "# One\n\n## Training\n\nlong\n\n## Use\n\nx") == tmp_path / "README.md"
    assert section_of(tmp_path, "## Training") == "long"
    assert section_of(tmp_path, "## Nothing") == ""
    assert write_card(tmp_path, "a: 2", "# Two") == tmp_path / "README.md"
    assert (tmp_path / "README.md").read_text() == f"---\na: 2\n---\n\n{MARK}\n\n# Two\n"
    (tmp_path / "README.md").write_text("mine\n\n## Training\n\nsecret")
    assert write_card(tmp_path, "a: 3", "# Three") is None
    assert section_of(tmp_path, "## Training") == ""
    assert [file.name for file in tmp_path.iterdir()] == ["README.md"]


def test_a_table_keeps_its_columns() -> None:
    made = table(["name", "n"], [["a|b\nc", 1234], ["中", 0.25]])
    assert made.splitlines() == ["| name | n |", "| --- | ---: |", "| a\\|b c | 1,234 |", "| 中 | 0.25 |"]


def test_sizes_in_the_words_of_the_hub() -> None:
    found = [size_category(count) for count in (0, 999, 1000, 11_137, 2 * 10**9, 10**12)]
    assert found == ["n<1K", "n<1K", "1K<n<10K", "10K<n<100K", "1B<n<10B", "n>1T"]
