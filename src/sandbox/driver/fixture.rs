//! The demo workspace: people of a small company, with the odd cases that every directory has.

use serde_json::{Value, json};

use super::channels::NewChannel;
use crate::sandbox::world::directory::{View, shown};
use crate::sandbox::world::team::Team;

/// Custom profile fields of the demo workspace: id and label.
pub const FIELDS: [(&str, &str); 2] = [("XF12345", "Employee ID"), ("XF67890", "Office")];

struct Person {
    id: &'static str,
    name: &'static str,
    display: &'static str,
    email: Option<&'static str>,
    title: &'static str,
    zone: (&'static str, &'static str, i32),
    locale: &'static str,
    color: &'static str,
}

const LONDON: (&str, &str, i32) = ("Europe/London", "Greenwich Mean Time", 0);
const BERLIN: (&str, &str, i32) = ("Europe/Berlin", "Central European Time", 3600);
const NEW_YORK: (&str, &str, i32) = ("America/New_York", "Eastern Standard Time", -18_000);
const TOKYO: (&str, &str, i32) = ("Asia/Tokyo", "Japan Standard Time", 32_400);
const SAO_PAULO: (&str, &str, i32) = ("America/Sao_Paulo", "Brasilia Standard Time", -10_800);
const KOLKATA: (&str, &str, i32) = ("Asia/Kolkata", "India Standard Time", 19_800);

#[rustfmt::skip]
const PEOPLE: [Person; 12] = [
    Person { id: "U0DEMOADA", name: "Ada Demo", display: "ada", color: "9f69e7",
        email: Some("ada@demo.example"), title: "Head of Platform", zone: LONDON, locale: "en-GB" },
    Person { id: "U0DEMOBEN", name: "Ben Demo", display: "ben", color: "4bbe2e",
        email: Some("ben@demo.example"), title: "Engineer", zone: NEW_YORK, locale: "en-US" },
    Person { id: "U0DEMOCLA", name: "Clara Demo", display: "clara", color: "e7392d",
        email: Some("clara@demo.example"), title: "Designer", zone: BERLIN, locale: "de-DE" },
    Person { id: "U0DEMODAI", name: "Daichi Demo", display: "daichi", color: "3c989f",
        email: Some("daichi@demo.example"), title: "Engineer", zone: TOKYO, locale: "ja-JP" },
    Person { id: "U0DEMOELI", name: "Elif Demo", display: "elif", color: "674b1b",
        email: Some("elif@demo.example"), title: "Support", zone: BERLIN, locale: "tr-TR" },
    Person { id: "U0DEMOFAB", name: "Fabio Demo", display: "fabio", color: "e96699",
        email: Some("fabio@demo.example"), title: "Sales", zone: SAO_PAULO, locale: "pt-BR" },
    Person { id: "U0DEMOGIT", name: "Gita Demo", display: "gita", color: "db3150",
        email: Some("gita@demo.example"), title: "Data Scientist", zone: KOLKATA, locale: "en-US" },
    Person { id: "U0DEMOHUG", name: "Hugo Demo", display: "", color: "235e5b",
        email: Some("hugo@demo.example"), title: "Finance", zone: BERLIN, locale: "fr-FR" },
    Person { id: "U0DEMOIDA", name: "Ida Demo", display: "ida", color: "5b89d5",
        email: None, title: "Contractor", zone: LONDON, locale: "en-GB" },
    Person { id: "U0DEMOJON", name: "Jonas Demo", display: "jonas", color: "99a949",
        email: Some("jonas@demo.example"), title: "Engineer", zone: BERLIN, locale: "de-DE" },
    Person { id: "U0DEMOKIM", name: "Kim Demo", display: "kim", color: "684b6c",
        email: Some("kim@partner.example"), title: "Guest", zone: NEW_YORK, locale: "en-US" },
    Person { id: "U0DEMOLEA", name: "Lea Demo", display: "lea", color: "df3dc0",
        email: Some("lea@demo.example"), title: "Product", zone: LONDON, locale: "es-ES" },
];

/// Members of the demo workspace: one without e-mail (Ida), one deactivated (Jonas), a guest (Kim),
/// a bot and Slackbot. Custom fields are under `_fields`, which the
/// [sandbox](crate::sandbox::Sandbox) removes.
#[must_use]
pub fn demo_members() -> Vec<Value> {
    let mut members: Vec<_> = PEOPLE.iter().map(member).collect();
    for (index, id) in [(0, "1001"), (1, "1002")] {
        members[index]["_fields"] = json!({ "XF12345": id, "XF67890": "London" });
    }
    members[0]["is_admin"] = json!(true);
    members[0]["is_owner"] = json!(true);
    members[9]["deleted"] = json!(true);
    members[10]["is_restricted"] = json!(true);
    members.push(json!({ "id": "U0DEMOBOT", "name": "deploybot", "real_name": "Deploy Bot",
        "is_bot": true, "color": "2b6836",
        "profile": { "real_name": "Deploy Bot", "bot_id": "B0DEMOBOT", "api_app_id": "A0DEMOBOT",
            "always_active": true } }));
    members.push(json!({ "id": "USLACKBOT", "name": "slackbot", "real_name": "Slackbot",
        "is_bot": false, "tz": null, "color": "757575",
        "profile": { "real_name": "Slackbot", "display_name": "Slackbot",
            "always_active": true } }));
    members
}

/// More people than [`demo_members`], for tests of channels: a single-channel guest (Nia), a person
/// who was invited and has never signed in (Ole), and one of another company (Pat).
#[must_use]
pub fn demo_guests() -> Vec<Value> {
    let person = |id: &str, name: &str, title: &str| {
        json!({ "id": id, "real_name": name, "color": "d58247", "tz": "Europe/London",
            "profile": { "real_name": name, "display_name": name, "title": title } })
    };
    let mut nia = person("U0DEMONIA", "Nia Demo", "Guest");
    (nia["is_restricted"], nia["is_ultra_restricted"]) = (json!(true), json!(true));
    nia["profile"]["email"] = json!("nia@partner.example");
    let mut ole = person("U0DEMOOLE", "Ole Demo", "Engineer");
    ole["is_invited_user"] = json!(true);
    ole["profile"]["email"] = json!("ole@demo.example");
    let mut pat = person("U0DEMOPAT", "Pat Partner", "Supplier");
    pat["team_id"] = json!("T0PARTNER01");
    vec![nia, ole, pat]
}

/// Channels with people of [`demo_members`] and [`demo_guests`]: one that the app is in, a private
/// one that it cannot see, and an archived one.
#[must_use]
pub fn demo_channels() -> Vec<NewChannel> {
    let with = |name: &str, members: &[&str]| NewChannel {
        name: name.to_owned(),
        members: members.iter().map(|id| (*id).to_owned()).collect(),
        ..NewChannel::default()
    };
    let atlas = with("project-atlas", &["U0DEMOADA", "U0DEMOKIM", "U0DEMONIA", "bot"]);
    let leadership = with("leadership", &["U0DEMOADA", "U0DEMOBEN"]);
    let party = with("summer-party", &["U0DEMOADA", "U0DEMOLEA"]);
    vec![
        NewChannel { topic: "The release of Atlas".into(), ..atlas },
        NewChannel { is_private: true, ..leadership },
        NewChannel { archived: true, ..party },
    ]
}

fn member(person: &Person) -> Value {
    let (zone, label, offset) = person.zone;
    let mut member = json!({
        "id": person.id, "name": person.name.to_lowercase().replace(' ', "."),
        "real_name": person.name, "color": person.color, "tz": zone, "tz_label": label,
        "tz_offset": offset, "locale": person.locale, "updated": 1_760_000_000,
        "profile": { "real_name": person.name, "display_name": person.display,
            "title": person.title },
    });
    if let Some(email) = person.email {
        member["profile"]["email"] = json!(email);
    }
    member
}

/// Given and family names in the lengths and scripts found in real directories.
const GIVEN: [&str; 24] = [
    "Ada",
    "Bo",
    "Chiara",
    "Dmitri",
    "Eleanor",
    "Félix",
    "Gabriela",
    "Haruto",
    "Ingrid",
    "João",
    "Katarzyna",
    "Liam",
    "Maximilian",
    "Nguyệt",
    "Olena",
    "Priyanka",
    "Quentin",
    "Rosalind",
    "Søren",
    "Tomáš",
    "Uma",
    "Valentina",
    "Wei",
    "Zoë",
];
const FAMILY: [&str; 24] = [
    "Andersson",
    "Bui",
    "Chandrasekaran",
    "Díaz",
    "Eriksen",
    "Fernandes",
    "García Márquez",
    "Hoffmann",
    "Ivanova",
    "Jones",
    "Kowalczyk",
    "Li",
    "Müller",
    "Nakamura",
    "O’Brien",
    "Papadopoulos",
    "Quispe",
    "Rasmussen",
    "Silva",
    "Takahashi",
    "Uzun",
    "van der Berg",
    "Wright",
    "Yılmaz",
];
const TITLES: [&str; 8] = [
    "Software Engineer",
    "Account Manager",
    "",
    "Nurse",
    "Head of Operations",
    "Data Analyst",
    "Customer Support Specialist",
    "Teacher",
];

/// Member number `n` of a large generated workspace; always the same for the same `n`.
#[must_use]
pub fn generated_member(n: u64) -> Value {
    let pick = |of: &'static [&'static str], by: u64| {
        of[usize::try_from(n / by % of.len() as u64).unwrap_or(0)]
    };
    let (given, family) = (pick(&GIVEN, 1), pick(&FAMILY, GIVEN.len() as u64));
    let name = format!("{given} {family}");
    let (zone, label, offset) = [LONDON, BERLIN, NEW_YORK, TOKYO, SAO_PAULO, KOLKATA]
        [usize::try_from(n / 7 % 6).unwrap_or(0)];
    json!({
        "id": format!("UG{n:09}"), "real_name": name, "tz": zone, "tz_label": label,
        "tz_offset": offset, "updated": 1_700_000_000 + n,
        "profile": { "display_name": if n.is_multiple_of(3) { given } else { &name },
            "real_name": name, "title": pick(&TITLES, 5),
            "email": format!("person{n}@generated.example") },
    })
}

/// The same member as `users.list` shows it, for benchmarks without a server.
#[must_use]
pub fn served_member(n: u64) -> Value {
    let team = Team { id: "T0SANDBOX01".into(), name: "Demo".into(), enterprise_id: None };
    shown(generated_member(n), &team, View { email: true, locale: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_odd_cases_are_there() {
        let members = demo_members();
        assert_eq!(members.len(), 14);
        let count = |test: &dyn Fn(&Value) -> bool| members.iter().filter(|m| test(m)).count();
        assert_eq!(count(&|m| m["deleted"] == true), 1);
        assert_eq!(count(&|m| m["is_bot"] == true), 1);
        assert_eq!(count(&|m| m["is_restricted"] == true), 1);
        assert_eq!(count(&|m| m["_fields"].is_object()), 2);
        assert_eq!(count(&|m| m["id"] == "USLACKBOT"), 1);
    }
}
