//! Data that tries to become markup, and texts about as long as a limit.

use proptest::prelude::*;
use proptest::sample::select;

/// Texts that no message may show as live markup, turn into a link, or be broken by.
const PIECES: [&str; 22] = [
    "<!channel> ",
    "<!here|x>",
    "<@U1>",
    "<@herald:ada|Ada> ",
    "<#C1>",
    "<http://evil.test|label>",
    "<HTTPS://evil.test|https://x.test> ",
    "<https://x.test|https://evil.test> ",
    "https://x.test@evil.test/ ",
    "<mailto:a@evil.test|a>",
    "[x](https://evil.test) ",
    "&amp; ",
    "&lt;!channel&gt; ",
    "{{ data }} {% raw %} ",
    "\u{202E}gnp.exe ",
    "\u{1}ab\u{2}cdef ",
    "\u{3}<!channel>\u{4} ",
    "👩‍👩‍👧 ",
    "e\u{301}",
    "two words ",
    "\"},{\\ ",
    "日本語",
];

/// Values of a field for a link. Only some are links, and none leads to `evil.test`.
const URLS: [&str; 9] = [
    "https://x.test/?a=<b>|c",
    "https://x.test/a b",
    "https://x.test/<!channel>",
    "https://x.test@evil.test/",
    "https://x.test\n.evil.test/",
    "<https://evil.test|x>",
    "javascript:alert(1)",
    "//evil.test",
    "",
];

/// The data of one message; its texts also serve as ids and names.
#[derive(Debug, Clone)]
pub(super) struct Data {
    pub(super) a: String,
    pub(super) b: String,
    pub(super) id: String,
    pub(super) url: &'static str,
    pub(super) photo: &'static str,
    pub(super) list: Vec<String>,
}

pub(super) fn data() -> impl Strategy<Value = Data> {
    let texts = (short(), short(), short(), prop::collection::vec(short(), 0..4));
    let photo = select(vec!["https://x.test/p.png", " ", "p.png", "javascript:alert(1)"]);
    (texts, select(URLS.to_vec()), photo).prop_map(|((a, b, id, list), url, photo)| Data {
        a,
        b,
        id,
        url,
        photo,
        list,
    })
}

fn short() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => "[<>&!@#|*_~`{}%\"\\\\a \n]{0,40}",
        1 => any::<String>(),
        1 => Just(String::new()),
        4 => (piece(), 1_usize..4).prop_map(|(piece, times)| piece.repeat(times)),
    ]
}

pub(super) fn piece() -> impl Strategy<Value = &'static str> {
    select(PIECES.to_vec())
}

/// Repetitions of the piece, cut at this number of characters.
pub(super) fn of_length(piece: &str, length: usize) -> String {
    piece.chars().cycle().take(length).collect()
}
