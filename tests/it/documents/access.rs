//! `docs/access.md`: the rights of callers, generated from the table that decides.
//! `tests/it/access` tests each cell.

use std::fmt::Write as _;

use herald::domain::access::{About, Cell, Refusal, Right, TABLE, Who, Whose};

use super::is_as_written;
use crate::access::is_one_person;

const FILE: &str = "docs/access.md";
const HEAD: &str = include_str!("access_head.md");

#[test]
fn the_page_is_the_table_that_decides() {
    is_as_written(FILE, &page());
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    for service in ["HeraldService", "AdminService", "ChannelService", "WorkspaceService"] {
        write!(
            page,
            "\n### `{service}`\n\n\
             | call | service | administrator | user: own | user: other's | actor: own | \
             actor: other's | editing actor: own | editing actor: other's |\n\
             |---|---|---|---|---|---|---|---|---|\n"
        )
        .unwrap();
        for right in TABLE.iter().filter(|right| right.names().0 == service) {
            writeln!(page, "{}", row(right)).unwrap();
        }
    }
    page
}

fn row(right: &Right) -> String {
    let (_, method) = right.names();
    let form = if right.form.is_empty() { String::new() } else { format!(", {}", right.form) };
    let cell = |who, whose| match right.cell(who, whose) {
        Cell::Allowed => "yes".to_owned(),
        Cell::Absent => "`NOT_FOUND`".to_owned(),
        Cell::Refused(refusal) => format!("`{}`", reason(refusal)),
    };
    let mut row = format!("| {method}{form} |");
    for who in Who::ALL {
        if !is_one_person(*who) {
            write!(row, " {} |", cell(*who, Whose::Other)).unwrap();
            continue;
        }
        let own = if right.about == About::Notification
            && right.cell(*who, Whose::Own) == Cell::Allowed
        {
            "what is theirs in it".to_owned()
        } else {
            cell(*who, Whose::Own)
        };
        write!(row, " {own} | {} |", cell(*who, Whose::Other)).unwrap();
    }
    row
}

fn reason(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Role => "ROLE_NOT_ALLOWED",
        Refusal::NotOwn => "NOT_OWN_PROFILE",
        Refusal::Permission => "PERMISSION_MISSING",
        Refusal::ActorRequired => "ACTOR_REQUIRED",
    }
}
