"""A link by which a person proves who they are, as the person's browser shows it.

Usage: identity.py HERALD CHROMIUM GRPCURL [FOLDER], as connect.py, whose browser, server and checks
of pages it uses. With FOLDER, pictures of the pages are kept there.
"""

import sqlite3
import tempfile

import connect
from connect import Chromium, Herald, Person


def link(herald, user="sam"):
    return herald.call("CreateIdentityLink", tenant_id="acme", user_id=user)["url"]


def expire(herald):
    """Lets every link expire. The file belongs to one process, so the server is stopped."""
    herald.stop()
    files = [file for file in herald.data.rglob("*") if connect.is_database(file)]
    assert len(files) == 1, files
    with sqlite3.connect(files[0]) as database:
        database.execute("UPDATE identity_links SET expires_at = 1")
    database.close()
    herald.start()


def sign_in(person, url):
    return person.open(url).press("a.way", "Sign in with Slack").press("button.allow")


def proves(person, herald):
    url = link(herald)
    person.open(url)
    person.look("identity-start", "Show which Slack account is yours", "acme", "close this page")
    sign_in(person, url).look("identity-proved", "This is your Slack account")
    identity = herald.call("GetPerson", tenant_id="acme", user_id="sam")["identity"]
    assert identity["rule"] == "IDENTITY_RULE_PINNED", identity
    person.open(url).look("identity-used", "used already", "ask for a new link")


def does_not(chromium, person, herald):
    person.open(link(herald, "kim")).press("a.way", "Sign in with Slack")
    person.press("button", "Cancel").look("identity-canceled", "Nothing was changed")
    stranger = Person(chromium)
    person.open(link(herald, "kim")).press("a.way", "Sign in with Slack")
    stranger.open(person.url()).press("button.allow")
    stranger.look("identity-another-browser", "another browser", "open the link again")
    late = link(herald, "kim")
    expire(herald)
    person.open(late).look("identity-expired", "has expired", "Ask for a new link")
    person.open(late.split("?")[0]).look("identity-unknown", "not known")


def main():
    with tempfile.TemporaryDirectory() as folder:
        address = connect.free_address()
        sandbox, base = connect.sandbox_for(address)
        herald = Herald(base, folder, connect.platform(), address)
        chromium = Chromium(folder)
        try:
            person = Person(chromium)
            assert person.approve(herald.link()).outcome() == ("connected", "")
            proves(person, herald)
            does_not(chromium, person, herald)
        finally:
            chromium.close()
            herald.stop()
            connect.stopped(sandbox)
    print("a person proves who they are, and every other way leads on")


if __name__ == "__main__":
    main()
