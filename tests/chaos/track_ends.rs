//! The channels as callers see them once the faults are over.

use std::collections::BTreeMap;
use std::time::Duration;

use herald::rpc::pb;
use herald::rpc::pb::channel_service_client::ChannelServiceClient;
use tokio::time::{Instant, sleep};
use tonic::Code;
use tonic::transport::Channel;

use crate::book::Book;
use crate::evidence::ChannelEnd;
use crate::reader::named;
use crate::site::Site;
use crate::tenant::Tenant;
use crate::track::Track;

/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// Far more than a channel has here.
const PAGE: i32 = 1_000;

/// Waits until every wish is carried out, but no longer than this.
pub(crate) async fn settle(site: &Site, tracks: &[Track], patience: Duration) {
    let deadline = Instant::now() + patience;
    let service = ChannelServiceClient::new(site.replicas[0].channel());
    let mut open: Vec<&Track> = tracks.iter().filter(|track| !track.released).collect();
    while !open.is_empty() && Instant::now() < deadline {
        let mut waiting = Vec::new();
        for track in open {
            let seen = channel(service.clone(), track).await;
            if seen.is_none_or(|channel| !channel.settled) {
                waiting.push(track);
            }
        }
        open = waiting;
        sleep(LOOK).await;
    }
}

/// Logs the last wishes, and the answers of Herald about them.
pub(crate) async fn log(site: &Site, book: &Book, tracks: &[Track]) {
    let service = ChannelServiceClient::new(site.replicas[0].channel());
    for track in tracks {
        let mut end = ChannelEnd {
            key: track.key(),
            generation: track.generation,
            name: track.name(),
            members: track.members.clone(),
            archived: track.archived,
            released: track.released,
            ..ChannelEnd::default()
        };
        if let Some(channel) = channel(service.clone(), track).await {
            end.state = named(channel.state().as_str_name(), "CHANNEL_STATE_");
            end.obstacle = named(channel.obstacle().as_str_name(), "CHANNEL_OBSTACLE_");
            end.settled = channel.settled;
            end.channel = channel.channel_id;
            end.people = people(service.clone(), track).await;
        }
        book.channel_end(&end);
    }
}

/// `None`: there is no channel of this key, or no answer.
async fn channel(mut service: ChannelServiceClient<Channel>, track: &Track) -> Option<pb::Channel> {
    let request = pb::GetChannelRequest {
        tenant_id: Tenant::MAIN.name(),
        channel_key: track.key(),
        actor: None,
    };
    match service.get_channel(request).await {
        Ok(answer) => answer.into_inner().channel,
        Err(status) => {
            if status.code() != Code::NotFound {
                println!("{} cannot be read: {status}", track.key());
            }
            None
        }
    }
}

/// The state of each person who is wished for.
async fn people(
    mut service: ChannelServiceClient<Channel>,
    track: &Track,
) -> BTreeMap<String, String> {
    let request = pb::ListChannelMembersRequest {
        tenant_id: Tenant::MAIN.name(),
        channel_key: track.key(),
        page_size: PAGE,
        ..pb::ListChannelMembersRequest::default()
    };
    // Without an answer, no person is where the wish says.
    let Ok(answer) = service.list_channel_members(request).await else { return BTreeMap::new() };
    let state = |member: pb::ChannelMemberStatus| {
        let state = named(member.state().as_str_name(), "CHANNEL_MEMBER_STATE_");
        (member.user_id, state)
    };
    answer.into_inner().members.into_iter().map(state).collect()
}
