//! Pages of lists (AIP-158): sizes, and tokens that are bound to their list and filter.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use sha2::{Digest as _, Sha256};

use super::decode::Fields;
use crate::domain::limits;

/// Bytes of a filter's digest in a token. It detects mistakes; forging a token gains nothing.
const DIGEST: usize = 8;

/// A list with its filter: the tokens of one do not fit another.
pub(super) struct List([u8; DIGEST]);

impl List {
    /// `filter`: the name of the method and every field that selects entries.
    pub(super) fn of(filter: &[&str]) -> Self {
        let mut hash = Sha256::new();
        for part in filter {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let mut digest = [0; DIGEST];
        digest.copy_from_slice(&hash.finalize()[..DIGEST]);
        Self(digest)
    }

    /// A token for the entries after a position.
    pub(super) fn token(&self, position: &str) -> String {
        BASE64.encode([&self.0, position.as_bytes()].concat())
    }

    /// The position in a token; `None` for the first page. A token of another list is noted.
    pub(super) fn position<T>(
        &self,
        fields: &mut Fields,
        token: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        if token.is_empty() {
            return None;
        }
        if token.len() > limits::PAGE_TOKEN_BYTES {
            let max = limits::PAGE_TOKEN_BYTES;
            fields.bad("page_token", format!("must be at most {max} bytes"));
            return None;
        }
        let parsed = BASE64.decode(token).ok().and_then(|bytes| {
            let position = bytes.strip_prefix(&self.0)?;
            parse(std::str::from_utf8(position).ok()?)
        });
        if parsed.is_none() {
            fields.bad("page_token", "is not a next_page_token of this list with this filter");
        }
        parsed
    }
}

/// The size of a page: 0 means the default, more than `max` means `max`.
pub(super) fn size(fields: &mut Fields, given: i32, max: u32) -> u32 {
    match u32::try_from(given) {
        Ok(0) => limits::DEFAULT_PAGE.min(max),
        Ok(size) => size.min(max),
        Err(_) => {
            fields.bad("page_size", "must not be negative");
            max
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_fits_its_own_list_alone() {
        let (mine, other) =
            (List::of(&["ListPeople", "acme"]), List::of(&["ListPeople", "acm", "e"]));
        let token = mine.token("ada");
        let read = |list: &List, token: &str| {
            let mut fields = Fields::default();
            let position = list.position(&mut fields, token, |text| Some(text.to_owned()));
            (position, fields.end().is_ok())
        };
        assert_eq!(read(&mine, &token), (Some("ada".into()), true));
        assert_eq!(read(&mine, ""), (None, true));
        for (list, token) in
            [(&other, &*token), (&mine, "?"), (&mine, &token[1..]), (&mine, "AAAA")]
        {
            assert_eq!(read(list, token), (None, false));
        }
    }

    #[test]
    fn sizes_are_cut_and_negative_ones_refused() {
        let mut fields = Fields::default();
        assert_eq!(size(&mut fields, 0, 1000), 50);
        assert_eq!(size(&mut fields, 7, 1000), 7);
        assert_eq!(size(&mut fields, 5000, 1000), 1000);
        assert!(fields.end().is_ok());
        let mut fields = Fields::default();
        size(&mut fields, -1, 1000);
        assert!(fields.end().is_err());
    }
}
