//! Rewrites the parser's errors for the administrator who wrote the expression: jmespath 0.5 names
//! the tokens and steps of its own parser ("Unexpected nud token -- found Eof").

/// The sentence for a complaint of jmespath's lexer or parser; an unknown complaint stays as it is.
pub(super) fn of(complaint: &str) -> String {
    if let Some((what, token)) = complaint.split_once(" -- found ") {
        return format!("{}, but {}", expected(what), found(token));
    }
    if let Some(rest) = complaint.strip_prefix("Unclosed ") {
        let quote = rest.chars().next().unwrap_or('"');
        return format!("the text that {quote} opens here is never closed");
    }
    if let Some(reason) = complaint.strip_prefix("Unable to parse literal JSON ") {
        return format!("what stands between ` and ` is not JSON: {reason}");
    }
    complaint.to_owned()
}

fn expected(what: &str) -> String {
    match what {
        "Unexpected nud token" => "a name or a value is expected here".into(),
        "Unexpected led token" => "an operator is expected here".into(),
        "Did not parse the complete expression" => "the expression is complete before this".into(),
        "Expected Field to start key value pair" => "a key is expected here".into(),
        other => match other.strip_prefix("Expected ") {
            Some(rest) => format!("expected {rest}"),
            None => other.to_owned(),
        },
    }
}

/// A token of the lexer, given in its debug form.
fn found(token: &str) -> String {
    let name = token.split('(').next().unwrap_or(token);
    let text = match name {
        "Eof" => return "the expression ends".into(),
        "Identifier" | "QuotedIdentifier" => return "a name follows".into(),
        "Number" => return "a number follows".into(),
        "Literal" => return "a literal follows".into(),
        "Dot" => ".",
        "Star" => "*",
        "Flatten" => "[]",
        "And" => "&&",
        "Or" => "||",
        "Pipe" => "|",
        "Filter" => "[?",
        "Lbracket" => "[",
        "Rbracket" => "]",
        "Comma" => ",",
        "Colon" => ":",
        "Not" => "!",
        "Ne" => "!=",
        "Eq" => "==",
        "Gt" => ">",
        "Gte" => ">=",
        "Lt" => "<",
        "Lte" => "<=",
        "At" => "@",
        "Ampersand" => "&",
        "Lparen" => "(",
        "Rparen" => ")",
        "Lbrace" => "{",
        "Rbrace" => "}",
        other => return format!("{other} follows"),
    };
    format!("{text} follows")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every token of the lexer, at places where it is not allowed: the parser's own names never
    /// appear.
    #[test]
    fn no_name_of_the_parser_is_told() {
        let tokens = [
            ".", "*", "[]", "&&", "||", "|", "[?", "[", "]", ",", ":", "!", "!=", "==", ">", ">=",
            "<", "<=", "@", "&", "(", ")", "{", "}", "7", "`1`", "\"q\"", "name", "",
        ];
        for before in ["", "a", "a.", "a[", "a[0", "{", "{a", "{a:", "f(", "a ", "[0:", "a[?b", "@"]
        {
            for token in tokens {
                let Err(fault) = jmespath::parse(&format!("{before}{token}")) else { continue };
                let jmespath::ErrorReason::Parse(complaint) = fault.reason else { continue };
                let told = of(&complaint);
                for own in ["nud", "led token", "Eof", "Lbrac", "Rbrac", "Identifier", "--"] {
                    assert!(!told.contains(own), "{before}{token}: {told}");
                }
            }
        }
    }
}
