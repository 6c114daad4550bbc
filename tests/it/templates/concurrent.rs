//! Changes at the same time: each is made or refused, and none fails because of the others.

use futures_util::future::join_all;
use herald::rpc::pb;
use tonic::Code;

use super::{HERE, get, heading, save, stored, template};
use crate::support::client::{Client, reason};
use crate::support::event_types::{create, training};
use crate::support::world::{Plan, TENANT, World};

const AT_ONCE: usize = 8;

/// Clients of all replicas, in turns.
async fn clients(world: &World) -> Vec<Client> {
    let mut clients = Vec::new();
    for number in 0..AT_ONCE {
        clients.push(world.client(number % world.replicas.len(), None).await);
    }
    clients
}

fn plan() -> Plan {
    Plan { replicas: 2, ..Plan::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_changes_of_one_state_exactly_one_is_made() {
    let test = async |world: &mut World| {
        let clients = clients(world).await;
        let etag = get(&clients[0], HERE, 0).await.unwrap().template.unwrap().etag;
        let all = clients.iter().enumerate().map(|(number, client)| {
            let form = heading(&format!("Number {number}"));
            save(client, pb::Template { etag: etag.clone(), ..template(HERE, form) })
        });
        let (made, lost): (Vec<_>, Vec<_>) =
            join_all(all).await.into_iter().partition(Result::is_ok);
        assert_eq!((made.len(), lost.len()), (1, AT_ONCE - 1));
        for lost in lost.into_iter().filter_map(Result::err) {
            assert_eq!((lost.code(), &*reason(&lost)), (Code::Aborted, "CHANGED_MEANWHILE"));
        }
        let made = made.into_iter().find_map(Result::ok).unwrap();
        assert_eq!(get(&clients[0], HERE, 0).await.unwrap().template.unwrap(), made);
        assert_eq!(stored(world).await.1, 1);
    };
    plan().run(test).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_changes_without_an_etag_are_all_made() {
    let test = async |world: &mut World| {
        let clients = clients(world).await;
        let all = clients.iter().enumerate().map(|(number, client)| {
            save(client, template(HERE, heading(&format!("Number {number}"))))
        });
        let saved = join_all(all).await.into_iter().map(Result::unwrap);
        let mut versions: Vec<i32> = saved.map(|saved| saved.version).collect();
        versions.sort_unstable();
        let wanted: Vec<i32> = (1..).take(AT_ONCE).collect();
        assert_eq!(versions, wanted);
        // Changes of event types and settings share the version of the settings.
        let types = clients.iter().enumerate().map(|(number, client)| {
            create(client, pb::EventType { name: format!("own.t{number}"), ..training() })
        });
        let templates = clients.iter().enumerate().map(|(number, client)| {
            save(client, template(HERE, heading(&format!("Again {number}"))))
        });
        let settings = clients.iter().map(|client| {
            let opt_in = pb::Settings { opt_in: true, ..Default::default() };
            client.set(TENANT, opt_in, &["opt_in"])
        });
        let (types, templates, settings) =
            tokio::join!(join_all(types), join_all(templates), join_all(settings));
        for outcome in types {
            outcome.unwrap();
        }
        for outcome in templates {
            outcome.unwrap();
        }
        for outcome in settings {
            outcome.unwrap();
        }
    };
    plan().run(test).await;
}
