import json

import pytest
from internlm2_data.document import Document
from internlm2_data.miniature.written.hay import gather_hay
from internlm2_data.pipelines.tokens import is_held_out


@pytest.fixture
def folder(tmp_path):
    texts = {
        "en": "Sentence number {} was written by a person.",
        "zh": "这是第{}句由人写下来的话，用来藏起事实。",
    }
    with (tmp_path / "docs.jsonl").open("w", encoding="utf-8") as out:
        for language, text in texts.items():
            for number in range(60):
                document = Document(text.format(number), "news", language, "prose", f"u{number}")
                out.write(json.dumps(document.to_json(), ensure_ascii=False) + "\n")
    return tmp_path


def test_no_fact_is_hidden_in_held_out_documents(folder):
    documents = [Document(**json.loads(line)) for line in (folder / "docs.jsonl").open(encoding="utf-8")]
    held = {document.text for document in documents if is_held_out(document.id, 0.3)}
    assert held
    hay = gather_hay([str(folder)], 10**6, held_out=0.3)
    taken = {sentence for sentences in hay.sentences.values() for sentence in sentences}
    assert taken == {document.text for document in documents} - held
