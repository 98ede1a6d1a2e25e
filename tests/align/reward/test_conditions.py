import pytest
from internlm2_align.reward.conditions import Conditions, Unconditional, load_conditions, without_conditions

REPORTED = {"helpful", "harmless", "writing", "poetry", "summary", "code", "maths", "format"}


def test_the_built_in_table_has_the_domains_of_the_report_in_two_languages():
    table = load_conditions()
    assert set(table.domains) == REPORTED
    texts = [table.messages(domain, language)[0]["content"] for domain in table.domains for language in ("en", "zh")]
    assert len(set(texts)) == 2 * len(REPORTED)
    assert table.messages("maths", "fr") == table.messages("maths", "en")


def test_a_user_file_extends_or_replaces(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("extends: default\ndomains:\n  law: Judge the law.\n  maths: {zh: 数学}\n", encoding="utf-8")
    table = load_conditions(file)
    assert set(table.domains) == REPORTED | {"law"}
    assert table.messages("law", "zh") == [{"role": "system", "content": "Judge the law."}]
    assert table.messages("maths", "en")[0]["content"] == "数学"
    file.write_text("domains: {law: Judge the law.}", encoding="utf-8")
    assert load_conditions(file).domains == ("law",)


def test_a_saved_table_reads_back(tmp_path):
    for table in (load_conditions(domains=("maths", "helpful")), without_conditions(domains=("maths",))):
        table.save(tmp_path / "conditions.yaml")
        assert load_conditions(tmp_path / "conditions.yaml") == table


def test_without_conditions_nothing_is_put_before():
    table = without_conditions()
    assert isinstance(table, Unconditional)
    assert set(table.domains) == REPORTED
    assert table.messages("maths") == []


@pytest.mark.parametrize("table", [Conditions({"maths": {"en": "x"}}), Unconditional(("maths",))])
def test_an_unknown_domain_is_refused_with_the_known_ones(table):
    with pytest.raises(ValueError, match=r"'law'.*Known are maths"):
        table.messages("law")


def test_bad_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"does not exist.* file=null takes"):
        load_conditions(tmp_path / "none.yaml")
    bad = tmp_path / "bad.yaml"
    for content, match in (
        ("- a\n", "no `domains` table"),
        ("domains: {maths: 3}", "needs a text"),
        ("domains: [a]", "a table of name: text"),
        ("unconditional: true\ndomains: {a: x}", "a list of names"),
        ("domains: {no: x}", "Domain False .* in quotes"),
        ("domains: {a: {no: x}}", "languages .* in quotes"),
        ("extends: defaults\ndomains: {law: x}", "extends 'defaults'. Only `extends: default`"),
        ("domains: {a", "is not YAML"),
    ):
        bad.write_text(content)
        with pytest.raises(ValueError, match=match) as error:
            load_conditions(bad)
        assert str(bad) in str(error.value)
    with pytest.raises(ValueError, match=r"domains names 'law'.*give a table that has it in file"):
        load_conditions(domains=["law"])


@pytest.mark.parametrize(
    ("tag", "language"),
    [("zh", "zh"), ("zh-CN", "zh"), ("zho_Hans", "zh"), ("Chinese", "zh"), ("eng_Latn", "en"), ("English", "en"),
     ("en-GB", "en"), ("ko-KR", "en")],
)  # fmt: skip
def test_languages_are_known_by_any_tag(tag, language):
    table = load_conditions()
    assert table.messages("maths", tag) == table.messages("maths", language)
    own = Conditions({"maths": {"en": "M", "zh-CN": "simplified", "zh": "any"}})
    assert own.messages("maths", "zh-CN")[0]["content"] == "simplified"
    assert own.messages("maths", "zh-TW")[0]["content"] == "any"
