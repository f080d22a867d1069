//! Whether each mirror's members answer this node. A pull never finds out whether a member that failed is back: that is
//! asked here, soon and ever less often, and so is whether members that nobody pulls from are there.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    forward::{Forwarder, Member, Routing, Routings},
    states::{Reach, Trouble},
    watch::Document,
};

/// How often the mirrors are looked through; most of the time nobody is asked.
const LOOK: Duration = Duration::from_secs(1);
/// How often a mirror that answers is asked, if no pull went there meanwhile.
const ANSWERING: Duration = Duration::from_secs(60);
/// How long a mirror must be silent until it is reported: a member's restart is no news.
const LONG: Duration = Duration::from_secs(60);
/// Those who lost a member at the same moment ask for it again at different ones.
const SPREAD: f64 = 0.4;
/// What each node adds to the time in which all of them ask a new member for the first time, in seconds: it is told of
/// to all at once, and each question is a handshake.
const SHARE: f64 = 0.024;
/// The longest such time, in seconds: a member that is ready is believed to be there meanwhile.
const WIDEST: f64 = 5.0;

/// Asks members, and publishes what it heard by uid of mirror.
#[derive(Debug)]
pub struct Health {
    forwarder: Arc<Forwarder>,
    routings: Arc<Routings>,
    reach: watch::Sender<BTreeMap<String, Reach>>,
    document: watch::Receiver<Document>,
    /// Since when a mirror does not answer, by uid.
    down: BTreeMap<String, Instant>,
    /// Those that are being asked.
    asked: Vec<Arc<Member>>,
    answers: FuturesUnordered<BoxFuture<'static, Arc<Member>>>,
}

impl Health {
    /// Health of the mirrors that `routings` name, asked through `forwarder`; `document` says how many nodes ask.
    #[must_use]
    pub fn new(
        forwarder: Arc<Forwarder>,
        routings: Arc<Routings>,
        reach: watch::Sender<BTreeMap<String, Reach>>,
        document: watch::Receiver<Document>,
    ) -> Self {
        let (down, asked, answers) = (BTreeMap::new(), Vec::new(), FuturesUnordered::new());
        Self { forwarder, routings, reach, document, down, asked, answers }
    }

    /// Looks after the mirrors until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let forwarder = Arc::clone(&self.forwarder);
        loop {
            let next = self.look();
            tokio::select! {
                () = sleep_until(next) => {}
                () = forwarder.member_failed() => {}
                Some(member) = self.answers.next() => self.heard(&member),
                () = stop.cancelled() => return,
            }
        }
    }

    /// Asks who is due, says how things are, and when there is to be another look.
    fn look(&mut self) -> Instant {
        let (routing, now) = (self.routings.current(), Instant::now());
        let mut next = now + LOOK;
        for (uid, name) in routing.mirrors() {
            // Without an identity nobody can be asked.
            if !self.forwarder.has_identity_for(uid) {
                continue;
            }
            let members = routing.members(name);
            let unheard = !members.iter().any(|member| member.was_heard_within(ANSWERING));
            for member in members.iter().filter(|member| !self.is_asked(member)).cloned().collect::<Vec<_>>() {
                match member.due() {
                    Some(due) if due > now => next = next.min(due),
                    Some(_) => self.ask(member, SPREAD),
                    // Whether there is any member is waited for.
                    None if unheard => self.ask(member, 0.0),
                    None if !member.was_asked() => self.ask(member, self.first_spread()),
                    None => {}
                }
            }
        }
        self.publish(&routing, now);
        next
    }

    /// Within how many seconds all nodes ask a further member of a mirror for the first time.
    fn first_spread(&self) -> f64 {
        (SHARE * f64::from(self.document.borrow().nodes())).min(WIDEST)
    }

    fn is_asked(&self, member: &Arc<Member>) -> bool {
        self.asked.iter().any(|asked| Arc::ptr_eq(asked, member))
    }

    fn ask(&mut self, member: Arc<Member>, spread: f64) {
        let forwarder = Arc::clone(&self.forwarder);
        self.asked.push(Arc::clone(&member));
        let pause = Duration::from_secs_f64(rand::random::<f64>() * spread);
        self.answers.push(Box::pin(async move {
            tokio::time::sleep(pause).await;
            forwarder.is_alive(&member).await;
            member
        }));
    }

    fn heard(&mut self, member: &Arc<Member>) {
        self.asked.retain(|asked| !Arc::ptr_eq(asked, member));
    }

    fn publish(&mut self, routing: &Routing, now: Instant) {
        let mirrors = routing.mirrors();
        self.down.retain(|uid, _| mirrors.contains_key(uid.as_str()));
        let mut reach = BTreeMap::new();
        for (uid, name) in mirrors {
            if let Some(now) = self.reach_of(uid, routing.members(name), now) {
                reach.insert(uid.to_owned(), now);
            }
        }
        self.reach.send_if_modified(|known| {
            let changed = *known != reach;
            *known = reach;
            changed
        });
    }

    /// How a mirror is; what it was before where that is being asked, and none where it never was.
    fn reach_of(&mut self, uid: &str, members: &[Arc<Member>], now: Instant) -> Option<Reach> {
        let is_up = |member: &Arc<Member>| member.may_be_asked() && member.was_asked();
        let has_identity = self.forwarder.has_identity_for(uid);
        if has_identity && members.iter().any(is_up) {
            self.down.remove(uid);
            return Some(Reach::Up);
        }
        if has_identity && members.iter().any(|member| !member.was_asked()) && !self.down.contains_key(uid) {
            return self.reach.borrow().get(uid).copied();
        }
        let since = *self.down.entry(uid.to_owned()).or_insert(now);
        Some(Reach::Down { why: trouble_with(members, has_identity), long: now - since >= LONG })
    }
}

fn trouble_with(members: &[Arc<Member>], has_identity: bool) -> Trouble {
    match members.len() {
        0 => Trouble::NoMember,
        _ if !has_identity => Trouble::NoIdentity,
        count if members.iter().all(|member| member.is_distrusted()) => Trouble::Untrusted(count),
        count => Trouble::Silent(count),
    }
}

#[cfg(test)]
mod tests;
