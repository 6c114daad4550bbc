//! Fitting text to limits: users' values are shortened with "…", at the end of a word if one is
//! near; the template's own text stays whole.
//!
//! Lengths are counted in UTF-16 units: Slack says "characters" without defining them, and a text
//! never has more characters than UTF-16 units, so a text that fits by this count fits by either.
//!
//! [`filters`](super::filters) marks where values begin and end with control characters, which can
//! come from neither data nor templates; the marks are removed here.

use super::escape;

/// `text` of a message; Slack may split a longer one into several messages (slack-go/slack#972).
pub const TEXT: usize = 4_000;
/// All blocks together, as JSON. Slack documents no figure; about 13,200 was refused
/// (slackapi/bolt-js#2509).
pub const ALL_BLOCKS: usize = 12_000;

/// The text of a section.
pub(super) const SECTION: usize = 3_000;
/// A field of a section.
pub(super) const FIELD: usize = 2_000;

/// The marks around a value from data.
pub(super) const VALUE: (char, char) = ('\u{1}', '\u{2}');
/// The marks around markup that a filter made, which is as trusted as the template.
pub(super) const MARKUP: (char, char) = ('\u{3}', '\u{4}');

/// All marks.
pub(super) const MARKS: [char; 4] = [VALUE.0, VALUE.1, MARKUP.0, MARKUP.1];

/// Ends a shortened text.
const ELLIPSIS: char = '…';
/// The most characters that are kept together; a longer run of combining marks is noise.
const CLUSTER: usize = 16;
/// Units of the longest word that is dropped whole; a longer one is cut.
const WORD: usize = 32;
/// Begins a placeholder of [`mentions`](super::mentions), which ends with `>` and is never cut.
pub(super) const MENTION: &str = "<@herald:";
/// Follows [`MENTION`] in the placeholder of a name. A text without room for it has the name.
pub(super) const NAMED: char = '=';

/// A text within its limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fitted {
    pub(super) text: String,
    pub(super) shortened: bool,
}

/// The length in UTF-16 units.
#[must_use]
pub fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// Removes the marks from `marked` and makes it at most `limit` units, with no value longer than
/// `cap`. Long values are shortened first, all to the same length; only if the template's own text
/// is too long by itself is the end cut. `markup` says whether `<...>` is a unit that must not be
/// cut.
pub(super) fn fit(marked: &str, limit: usize, cap: usize, markup: bool) -> Fitted {
    if let Some(named) = named(marked, limit, markup) {
        return fit(&named, limit, cap, markup);
    }
    let runs = runs(marked);
    let lengths: Vec<usize> = runs.iter().map(|run| units(run.text)).collect();
    let sum = |is_value: bool, cap: usize| -> usize {
        let of = runs.iter().zip(&lengths).filter(|(run, _)| run.is_value == is_value);
        of.map(|(_, length)| (*length).min(cap)).sum()
    };
    let wording = sum(false, usize::MAX);
    let longest = lengths.iter().copied().max().unwrap_or(0);
    let (mut low, mut high) = (1, longest.min(cap).max(1));
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if wording + sum(true, middle) <= limit {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    let mut shortened = false;
    let mut text = String::with_capacity(marked.len());
    for (run, length) in runs.iter().zip(&lengths) {
        if run.is_value && *length > low {
            shortened = true;
            text.push_str(&cut(run.text, low, false));
        } else {
            text.push_str(run.text);
        }
    }
    if units(&text) > limit {
        shortened = true;
        text = cut(&text, limit, markup);
    }
    Fitted { text, shortened }
}

/// The text with the present names in place of their placeholders, if it has some and is too long:
/// a placeholder is longer than most names.
fn named(marked: &str, limit: usize, markup: bool) -> Option<String> {
    if !marked.contains(MENTION) {
        return None;
    }
    let placeholder = format!("{}{MENTION}{NAMED}", MARKUP.0);
    let mut parts = marked.split(&placeholder);
    let mut text = parts.next()?.to_owned();
    if text.len() == marked.len()
        || runs(marked).iter().map(|run| units(run.text)).sum::<usize>() <= limit
    {
        return None;
    }
    for part in parts {
        let (inside, rest) = part.split_once('>').unwrap_or((part, ""));
        let name = inside.split_once('|').map_or("", |(_, name)| name.trim_end());
        let name = if markup { escape::mrkdwn(name) } else { escape::plain(name) };
        text.push(VALUE.0);
        text.push_str(&name);
        text.push(VALUE.1);
        text.push_str(rest);
    }
    Some(text)
}

/// The beginning of `text` and "…", together at most `max` units (at least 1). Ends after a word
/// if that drops at most [`WORD`] units. Never cuts within an entity (`&amp;`), a character with
/// its combining marks, a placeholder of a mention or, with `markup`, a `<...>` token.
pub(in crate::domain::message) fn cut(text: &str, max: usize, markup: bool) -> String {
    if units(text) <= max {
        return text.to_owned();
    }
    let (mut kept, mut border) = (0, 0);
    let mut room = max.saturating_sub(ELLIPSIS.len_utf16());
    // Tokens end here at the latest: without it, every `<` would be searched for its end.
    let tokens = text.rfind('>').map_or(0, |at| at + 1);
    while kept < text.len() {
        let atom = atom(&text[kept..], kept < tokens, markup);
        let Some(left) = room.checked_sub(units(atom)) else { break };
        if atom.trim().is_empty() {
            border = kept;
        }
        room = left;
        kept += atom.len();
    }
    let within_word = !text[kept..].starts_with(char::is_whitespace);
    let words_before = !text[..border].trim().is_empty();
    if within_word && words_before && units(&text[border..kept]) <= WORD {
        kept = border;
    }
    let mut shorter = text[..kept].trim_end().to_owned();
    shorter.push(ELLIPSIS);
    shorter
}

/// Whether a value, or markup made by a filter, was put inside a `<...>` that the template's author
/// wrote, where it could become a mention or another link.
pub(super) fn value_inside_token(marked: &str) -> bool {
    let mut open = false;
    for run in runs(marked) {
        if run.is_value || run.is_markup {
            if open {
                return true;
            }
        } else if let Some(at) = run.text.rfind(['<', '>']) {
            open = run.text[at..].starts_with('<');
        }
    }
    false
}

/// Whether the template's own text and values make a placeholder of a mention together: only the
/// filter may.
pub(super) fn forges_mention(marked: &str) -> bool {
    let mut written = String::with_capacity(marked.len());
    for run in runs(marked) {
        // A placeholder does not go on before or after markup.
        written.push_str(if run.is_markup { " " } else { run.text });
    }
    written.contains(MENTION)
}

struct Run<'a> {
    is_value: bool,
    is_markup: bool,
    text: &'a str,
}

fn runs(marked: &str) -> Vec<Run<'_>> {
    let mut runs = Vec::new();
    let (mut is_value, mut is_markup) = (false, false);
    let marks = [VALUE.0, VALUE.1, MARKUP.0, MARKUP.1];
    let mut rest = marked;
    loop {
        let at = rest.find(marks).unwrap_or(rest.len());
        let (text, after) = rest.split_at(at);
        if !text.is_empty() {
            runs.push(Run { is_value, is_markup, text });
        }
        let mut chars = after.chars();
        match chars.next() {
            None => return runs,
            Some(mark) => {
                is_value = mark == VALUE.0;
                is_markup = mark == MARKUP.0;
            }
        }
        rest = chars.as_str();
    }
}

/// The first part of a text that must not be cut, for a text that is not empty. `tokens`: a `>`
/// follows.
fn atom(text: &str, tokens: bool, markup: bool) -> &str {
    for entity in ["&amp;", "&lt;", "&gt;"] {
        if text.starts_with(entity) {
            return &text[..entity.len()];
        }
    }
    if tokens
        && (text.starts_with(MENTION) || markup && text.starts_with('<'))
        && let Some(end) = text.find('>')
    {
        return &text[..=end];
    }
    let mut previous = None;
    let mut flag = false;
    for (count, (at, c)) in text.char_indices().enumerate() {
        let joined = match previous {
            None => true,
            Some(before) => {
                let second_half = is_regional(before) && is_regional(c) && !flag;
                flag |= second_half;
                second_half || before == '\u{200D}' || joins_previous(c)
            }
        };
        if !joined || count >= CLUSTER {
            return &text[..at];
        }
        previous = Some(c);
    }
    text
}

fn is_regional(c: char) -> bool {
    matches!(c, '\u{1F1E6}'..='\u{1F1FF}')
}

/// Combining marks, variation selectors, skin tones, tags and the zero-width joiner.
fn joins_previous(c: char) -> bool {
    matches!(c,
        '\u{0300}'..='\u{036F}' | '\u{0483}'..='\u{0489}' | '\u{0591}'..='\u{05BD}'
        | '\u{064B}'..='\u{065F}' | '\u{093A}'..='\u{094F}' | '\u{0E31}' | '\u{0E34}'..='\u{0E3A}'
        | '\u{0E47}'..='\u{0E4E}' | '\u{1AB0}'..='\u{1AFF}' | '\u{1DC0}'..='\u{1DFF}'
        | '\u{200D}' | '\u{20D0}'..='\u{20FF}' | '\u{FE00}'..='\u{FE0F}' | '\u{FE20}'..='\u{FE2F}'
        | '\u{1F3FB}'..='\u{1F3FF}' | '\u{E0020}'..='\u{E007F}' | '\u{E0100}'..='\u{E01EF}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(text: &str) -> String {
        format!("\u{1}{text}\u{2}")
    }

    #[test]
    fn values_give_way_and_the_wording_stays() {
        let marked = format!("*{}* in _{}_", value(&"a".repeat(50)), value("short"));
        let fitted = fit(&marked, 30, usize::MAX, true);
        assert_eq!(fitted.text, format!("*{}…* in _short_", "a".repeat(16)));
        assert_eq!(units(&fitted.text), 30);
        assert!(fitted.shortened);
        assert_eq!(
            fit(&marked, 100, usize::MAX, true).text,
            format!("*{}* in _short_", "a".repeat(50))
        );
    }

    #[test]
    fn nothing_is_cut_in_its_middle() {
        assert_eq!(cut("ab&amp;cd", 5, false), "ab…");
        assert_eq!(cut("ab&lt;cdefgh", 7, false), "ab&lt;…");
        assert_eq!(cut("ab <https://x.test|x> cdef", 20, true), "ab…");
        assert_eq!(cut("e\u{301}e\u{301}e\u{301}", 4, false), "e\u{301}…");
        assert_eq!(cut("👩‍👩‍👧 family", 9, false), "👩‍👩‍👧…");
        assert_eq!(cut("👩‍👩‍👧 family", 8, false), "…");
        assert_eq!(cut("🇦🇹🇩🇪x", 6, false), "🇦🇹…");
        assert_eq!(cut("a <@herald:u%31|Ada L> bcde", 24, false), "a <@herald:u%31|Ada L>…");
        assert_eq!(cut("a <@herald:u%31|Ada L> bcde", 21, false), "a…");
    }

    #[test]
    fn a_name_without_room_for_its_placeholder_stays_as_it_is() {
        let name = format!("A & B{}", " ".repeat(35));
        let marked = format!("Hi \u{3}<@herald:=u|{name}>\u{4}, \u{3}<@herald:v|{name}>\u{4}");
        let whole = marked.replace(['\u{3}', '\u{4}'], "");
        let room = units(&whole);
        assert_eq!(fit(&marked, room, usize::MAX, true).text, whole);
        let fitted = fit(&marked, room - 1, usize::MAX, true);
        assert_eq!(fitted.text, format!("Hi A &amp; B, <@herald:v|{name}>"));
        assert!(!fitted.shortened);
        let only = format!("Hi \u{3}<@herald:=u|{name}>\u{4}");
        assert_eq!(fit(&only, 8, usize::MAX, false).text, "Hi A & B");
        assert_eq!(fit(&only, 7, usize::MAX, false).text, "Hi A &…");
    }

    #[test]
    fn a_text_ends_after_a_word() {
        assert_eq!(cut("Prepare the workplace", 14, false), "Prepare the…");
        assert_eq!(cut("Prepare the workplace", 12, false), "Prepare the…");
        assert_eq!(cut("Prepare the workplace", 11, false), "Prepare…");
        assert_eq!(cut("Prepare", 4, false), "Pre…");
        // Dropping so long a word would lose more than it gains.
        let long = format!("a {}", "b".repeat(60));
        assert_eq!(cut(&long, 40, false), format!("a {}…", "b".repeat(37)));
        assert_eq!(cut("新しいタスクがあります", 6, false), "新しいタス…");
    }

    #[test]
    fn a_value_may_not_stand_inside_a_token() {
        assert!(value_inside_token(&format!("a <{}|x>", value("!channel"))));
        assert!(value_inside_token(&format!("<https://x.test/{}>", value("1"))));
        assert!(!value_inside_token(&format!("<!here> {} <#C1>", value("x"))));
        assert!(value_inside_token("<\u{3}<@herald:u|n>\u{4}|x>"));
        assert!(!value_inside_token("<!here> \u{3}<@herald:u|n>\u{4}"));
        assert!(!value_inside_token(&format!(
            "\u{3}<https://x.test|\u{4}{}\u{3}>\u{4}",
            value("x")
        )));
    }

    #[test]
    fn only_the_filter_makes_a_mention() {
        assert!(forges_mention(&format!("<{}", value("@herald:u|n>"))));
        assert!(forges_mention("<@herald:u|n>"));
        assert!(!forges_mention("by \u{3}<@herald:u|n>\u{4}"));
        assert!(!forges_mention("<\u{3}x\u{4}@herald:u|n>"));
    }

    #[test]
    fn a_sign_without_an_end_is_no_token() {
        assert_eq!(cut("a <b> c <d e", 9, true), "a <b> c…");
        assert_eq!(cut("<<<<<<<<", 4, true), "<<<…");
    }

    proptest! {
        #[test]
        fn everything_fits(
            parts in prop::collection::vec((any::<bool>(), "[^\\x01-\\x04]{0,40}"), 0..8),
            limit in 1_usize..200,
            cap in 1_usize..60,
        ) {
            let marked: String = parts
                .iter()
                .map(|(is_value, text)| if *is_value { value(text) } else { text.clone() })
                .collect();
            let fitted = fit(&marked, limit, cap, true);
            prop_assert!(units(&fitted.text) <= limit);
            let whole: String = parts.iter().map(|(_, text)| text.as_str()).collect();
            prop_assert!(fitted.shortened || fitted.text == whole);
            prop_assert!(!fitted.shortened || fitted.text.contains('…'));
        }

        #[test]
        fn words_stay_whole(
            words in prop::collection::vec("[a-z&]{1,30}", 1..30),
            max in 1_usize..200,
        ) {
            let text = words.join(" ");
            let shown = cut(&text, max, false);
            if let Some(kept) = shown.strip_suffix('…') {
                let rest = text.strip_prefix(kept).expect("a beginning");
                let only_word = !kept.contains(' ');
                prop_assert!(only_word || rest.starts_with(' '), "{shown:?} of {text:?}");
            }
        }
    }
}
