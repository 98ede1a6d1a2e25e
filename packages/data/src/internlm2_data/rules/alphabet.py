"""Characters by what they mean to the rules."""

import re

BULLETS = tuple("•‣▪▫◦●○■□–-*·★☆►▶➤")
ELLIPSES = ("...", "…", "。。。", "……")
SENTENCE_ENDS = frozenset(".!?。！？…．")
CLOSERS = "\"'”’」』）)]】》"
PUNCTUATION = frozenset(".,;:!?\"'()[]-…–—" + "。，、；：！？“”‘’（）《》【】「」『』—·")
SEPARATORS = frozenset("|_=*~#^/\\<>{}`•·■□◆◇●○★☆─━│┃═║╔╗╚╝┌┐└┘├┤┬┴┼▲▼►◄")
STOP_WORDS_EN = frozenset({"the", "be", "to", "of", "and", "that", "have", "with"})
STOP_WORDS_ZH = frozenset("的了是在和不有我他这为之人以")
HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]")
ABNORMAL = re.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd\ufffe\ufff9-\ufffb"
    r"\ue000-\uf8ff\U000f0000-\U0010ffff"  # private use: fonts that only one site has
    r"\u2400-\u243f\u2500-\u257f\u2580-\u259f\u2800-\u28ff"  # pictures of control characters, boxes, Braille
    r"\ud800-\udfff]"
)
PUNCTUATION_RUN = re.compile(r"([!?.,;:~\-_=*#。，、！？；：—…])\1{3,}")
