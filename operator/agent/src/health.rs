//! Whether each mirror's members answer this node: asked often until one does, and once a minute after that.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use crate::{
    forward::{Forwarder, Member, Routings},
    states::{Reach, Trouble},
};

/// How often the mirrors are looked through; most of the time nobody is asked.
const LOOK: Duration = Duration::from_secs(1);
/// How often a member that answers is asked, if no pull went there meanwhile.
const ANSWERING: Duration = Duration::from_secs(60);
/// How often a mirror that does not answer is asked: after a quarter of the time since it did, within these bounds.
const SILENT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(15));
/// How long a mirror must be silent until it is reported: a member's restart is no news.
const LONG: Duration = Duration::from_secs(60);

/// Asks members, and publishes what it heard by uid of mirror.
#[derive(Debug)]
pub struct Health {
    forwarder: Arc<Forwarder>,
    routings: Arc<Routings>,
    reach: watch::Sender<BTreeMap<String, Reach>>,
    /// By uid.
    down: BTreeMap<String, Down>,
}

/// A mirror that does not answer.
#[derive(Clone, Copy, Debug)]
struct Down {
    since: Instant,
    asked: Instant,
}

impl Health {
    /// Health of the mirrors that `routings` name, asked through `forwarder`.
    #[must_use]
    pub fn new(
        forwarder: Arc<Forwarder>,
        routings: Arc<Routings>,
        reach: watch::Sender<BTreeMap<String, Reach>>,
    ) -> Self {
        Self { forwarder, routings, reach, down: BTreeMap::new() }
    }

    /// Looks after the mirrors until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                () = stop.cancelled() => return,
            }
            let look = self.look();
            tokio::select! {
                () = look => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn look(&mut self) {
        let routing = self.routings.current();
        let mirrors = routing.mirrors();
        self.down.retain(|uid, _| mirrors.contains_key(uid.as_str()));
        let forwarder = Arc::clone(&self.forwarder);
        let due: Vec<_> = mirrors.iter().filter(|(uid, name)| self.is_due(uid, routing.members(name))).collect();
        let asked = join_all(due.iter().map(|(_, name)| any_alive(&forwarder, routing.members(name)))).await;
        let now = Instant::now();
        for ((uid, _), alive) in due.into_iter().zip(asked) {
            if alive {
                self.down.remove(*uid);
            } else {
                let since = self.down.get(*uid).map_or(now, |down| down.since);
                self.down.insert((*uid).to_owned(), Down { since, asked: now });
            }
        }
        let reach_of = |(uid, name): (&str, &str)| (uid.to_owned(), self.reach_of(uid, routing.members(name)));
        let reach: BTreeMap<_, _> = mirrors.into_iter().map(reach_of).collect();
        self.reach.send_if_modified(|known| {
            let changed = *known != reach;
            *known = reach;
            changed
        });
    }

    fn is_due(&self, uid: &str, members: &[Arc<Member>]) -> bool {
        match self.down.get(uid) {
            Some(down) => {
                let pause = (down.since.elapsed() / 4).clamp(SILENT.0, SILENT.1);
                // A member that just appeared is asked at once.
                down.asked.elapsed() >= pause || members.iter().any(|member| !member.was_asked())
            }
            None => !members.iter().any(|member| member.was_heard_within(ANSWERING)),
        }
    }

    fn reach_of(&self, uid: &str, members: &[Arc<Member>]) -> Reach {
        match self.down.get(uid) {
            None => Reach::Up,
            Some(down) => Reach::Down { why: self.trouble_with(members), long: down.since.elapsed() >= LONG },
        }
    }

    fn trouble_with(&self, members: &[Arc<Member>]) -> Trouble {
        match members.first() {
            None => Trouble::NoMember,
            Some(member) if !self.forwarder.has_identity_for(member.mirror_uid()) => Trouble::NoIdentity,
            Some(_) if members.iter().all(|member| member.is_distrusted()) => Trouble::Untrusted(members.len()),
            Some(_) => Trouble::Silent(members.len()),
        }
    }
}

async fn any_alive(forwarder: &Forwarder, members: &[Arc<Member>]) -> bool {
    let answers = join_all(members.iter().map(|member| forwarder.is_alive(member))).await;
    answers.contains(&true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        forward::{Honored, Limits},
        identity::Identity,
        metrics::Metrics,
        testing::{Authority, entries},
    };
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    fn health(
        member: Option<std::net::SocketAddr>,
    ) -> (Health, Arc<Routings>, watch::Receiver<BTreeMap<String, Reach>>) {
        let routings = Arc::new(Routings::default());
        set(&routings, member);
        let forwarder =
            Forwarder::new(Arc::clone(&routings), Limits::default(), Metrics::default(), Honored::default());
        let (send, receive) = watch::channel(BTreeMap::new());
        (Health::new(Arc::new(forwarder), Arc::clone(&routings), send), routings, receive)
    }

    fn set(routings: &Routings, member: Option<std::net::SocketAddr>) {
        let members = member.map(|address| ("m-0".to_owned(), address)).into_iter().collect();
        let routes = [("docker.io".parse().unwrap(), "m".to_owned())].into();
        routings.set(routes, [("m".to_owned(), "u".to_owned())].into(), &[("m".to_owned(), members)].into());
    }

    #[tokio::test]
    async fn a_mirror_without_members_is_down_and_up_as_soon_as_one_answers() {
        let (mut health, routings, reach) = health(None);
        health.look().await;
        assert_eq!(reach.borrow()["u"], Reach::Down { why: Trouble::NoMember, long: false });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        set(&routings, listener.local_addr().ok());
        health.look().await;
        assert_eq!(reach.borrow()["u"], Reach::Down { why: Trouble::NoIdentity, long: false });
        let authority = Authority::new();
        health.forwarder.identify(Identity::new(entries(&[&authority], &["u"])).unwrap());
        let member = async {
            let (stream, _) = listener.accept().await.unwrap();
            let acceptor = tokio_rustls::TlsAcceptor::from(authority.member("u", &[&authority]));
            let mut stream = acceptor.accept(stream).await.unwrap();
            let mut head = [0; 64];
            let read = stream.read(&mut head).await.unwrap();
            assert!(head[..read].starts_with(b"GET /v2/ "));
            stream
                .write_all(
                    b"HTTP/1.1 200 OK\r\ndocker-distribution-api-version: registry/2.0\r\ncontent-length: 0\r\n\r\n",
                )
                .await
                .unwrap();
        };
        tokio::join!(member, health.look());
        assert_eq!(reach.borrow()["u"], Reach::Up);
        // Nobody accepts any more: it would fail if it asked.
        drop(listener);
        health.look().await;
        assert_eq!(reach.borrow()["u"], Reach::Up);
    }

    #[tokio::test(start_paused = true)]
    async fn a_mirror_is_long_down_after_a_minute() {
        let (mut health, _, reach) = health(None);
        for _ in 0..60 {
            health.look().await;
            assert_eq!(reach.borrow()["u"], Reach::Down { why: Trouble::NoMember, long: false });
            tokio::time::advance(LOOK).await;
        }
        health.look().await;
        assert_eq!(reach.borrow()["u"], Reach::Down { why: Trouble::NoMember, long: true });
    }
}
