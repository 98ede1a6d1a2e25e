"""Documents of token files begin as texts of the model do that they are for."""

import json
import shutil
from pathlib import Path

import pytest
from internlm2_data.tokens import TokenWriter, token_sources
from internlm2_data.tokens.encoding import TextEncoder


def test_documents_begin_as_the_folder_of_the_tokenizer_says(tokenizer_file: Path, tmp_path: Path) -> None:
    plain, published = tmp_path / "plain", tmp_path / "published"
    for folder in (plain, published):
        folder.mkdir()
        shutil.copyfile(tokenizer_file, folder / "tokenizer.json")
    said = {"bos_token": {"content": "<s>"}, "add_bos_token": True}
    (published / "tokenizer_config.json").write_text(json.dumps(said))
    encoders = {folder.name: TextEncoder(folder) for folder in (plain, published)}
    [without], [with_bos] = (encoders[name].encode(["hi"]) for name in ("plain", "published"))
    assert with_bos[1:] == without
    for name, encoder in encoders.items():
        about = {"tokenizer_sha256": encoder.sha256, "begin": encoder.begin}
        with TokenWriter(tmp_path / f"of_{name}" / "en", encoder.vocabulary, about) as writer:
            writer.add(encoder.encode(["hi"])[0])
    for name, other in (("plain", published), ("published", plain)):
        assert token_sources(tmp_path / f"of_{name}", tokenizer=tmp_path / name)["en"].read(0).tolist()
        with pytest.raises(
            ValueError, match=r"begin with .* but texts of .* \(add_bos_token\)\. Run `internlm2 process"
        ):
            token_sources(tmp_path / f"of_{name}", tokenizer=other)
