//! What the planner does when connections come, stall, end and lie, in any order.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const SMALL: Sizes = Sizes { block: 4, window: 16, near: 8, waste: 4 };

fn want(reader: u64, start: u64, end: u64) -> Want {
    Want { reader, window: Window { start, end } }
}

fn plan(size: u64) -> Plan {
    Plan::new(Some(size), SegmentMap::default(), SMALL)
}

fn claimed(plan: &mut Plan, line: Line, wants: &[Want], steady: usize) -> Option<(u64, u64)> {
    plan.claim(line, wants, steady).map(|task| (task.window.start, task.window.end))
}

#[test]
fn alone_it_asks_for_all_and_goes_on_where_it_broke() {
    let mut plan = plan(100);
    assert_eq!(claimed(&mut plan, 0, &[], 1), Some((0, 100)));
    assert_eq!(plan.receive(0, 30), Step { skip: 0, at: 0, take: 30, more: true });
    assert_eq!(claimed(&mut plan, 0, &[], 1), Some((30, 100)));
    assert_eq!(claimed(&mut plan, 1, &[], 1), None, "one is enough");
}

#[test]
fn what_a_reader_far_ahead_waits_for_comes_first_and_the_first_request_is_closed_there() {
    let mut plan = plan(100);
    plan.claim(0, &[], 1);
    assert!(!plan.is_wanted(&[want(7, 8, 100)]), "the first is soon there");
    let far = [want(7, 50, 100)];
    assert!(plan.is_wanted(&far));
    let task = plan.claim(1, &far, 1).unwrap();
    assert_eq!(task, Task { window: Window { start: 48, end: 64 }, reader: Some(7) });
    assert!(!plan.is_wanted(&far), "it is on its way");
    assert_eq!(plan.receive(0, 60), Step { skip: 0, at: 0, take: 48, more: false });
    assert_eq!(claimed(&mut plan, 0, &[], 2), Some((64, 80)), "a window of its own, with an end");
}

#[test]
fn readers_take_turns() {
    let mut plan = plan(1000);
    plan.claim(0, &[], 1);
    let task = plan.claim(1, &[want(2, 500, 600), want(1, 100, 200)], 1).unwrap();
    assert_eq!(task.reader, Some(2), "in the order they are given");
    assert_eq!(plan.claim(2, &[want(2, 500, 600), want(1, 100, 200)], 1).unwrap().reader, Some(1));
}

#[test]
fn a_connection_more_fetches_ahead_of_the_first() {
    let mut plan = plan(1000);
    plan.claim(0, &[], 1);
    plan.receive(0, 10);
    assert_eq!(claimed(&mut plan, 1, &[], 2), Some((28, 44)));
    assert_eq!(claimed(&mut plan, 2, &[], 4), Some((44, 60)));
    let little = &mut Plan::new(Some(16), SegmentMap::default(), SMALL);
    little.claim(0, &[], 1);
    assert_eq!(claimed(little, 1, &[], 2), None, "not worth a connection");
}

#[test]
fn p6_while_all_that_there_are_only_try_there_is_no_use_in_one_more() {
    let (mut plan, reader) = (plan(1000), [want(7, 30, 1000)]);
    plan.claim(0, &[], 1);
    plan.receive(0, 30);
    plan.broke(0);
    assert!(plan.is_broken() && plan.is_wanted(&reader), "it waits a moment, and a reader for it");
    plan.claim(0, &reader, 1);
    assert!(plan.is_broken(), "asked again, and not answered");
    plan.answered(0);
    assert!(!plan.is_broken());
    plan.claim(1, &reader, 2);
    plan.broke(0);
    assert!(!plan.is_broken(), "another goes on");
    plan.end(1);
    assert!(plan.is_broken(), "it went on");
    plan.end(0);
    assert!(!plan.is_broken(), "nobody tries");
}

#[test]
fn an_upstream_that_sends_the_whole_again_is_heard_until_all_is_there() {
    let mut plan = plan(100);
    plan.claim(0, &[], 1);
    plan.receive(0, 30);
    plan.release(0);
    plan.claim(0, &[], 1);
    plan.restart(0);
    assert_eq!(plan.receive(0, 40), Step { skip: 30, at: 30, take: 10, more: true });
    assert_eq!(plan.receive(0, 60), Step { skip: 0, at: 40, take: 60, more: false });
    assert!(plan.is_whole());
}

/// A connection as the upstream sees it.
struct Sending {
    at: u64,
    end: u64,
}

struct Model {
    plan: Plan,
    size: u64,
    sending: BTreeMap<Line, Sending>,
    wants: Vec<Want>,
    got: Vec<bool>,
    sent: u64,
    broken: u64,
}

#[derive(Clone, Debug)]
enum Event {
    Bytes(Line, u64),
    Break(Line),
    Read(u64),
    Leave,
    More(Line),
}

impl Model {
    fn claim(&mut self, line: Line, steady: usize) {
        let Some(task) = self.plan.claim(line, &self.wants, steady) else { return };
        let Window { start, end } = task.window;
        assert!(start < end && end <= self.size, "{:?}", task.window);
        assert!(!self.got[usize::try_from(start).unwrap()], "{start} is there");
        if let Some(reader) = task.reader {
            let want = self.wants.iter().find(|want| want.reader == reader).unwrap().window;
            let missing =
                (want.start..want.end.min(self.size)).find(|at| !self.got[usize::try_from(*at).unwrap()]).unwrap();
            assert!((start..end).contains(&missing), "{missing} is waited for, not {:?}", task.window);
        }
        self.sending.insert(line, Sending { at: start, end });
        let claims: Vec<_> = self.plan.claims.values().filter(|claim| claim.at < claim.end).collect();
        for (number, one) in claims.iter().enumerate() {
            assert!(claims[number + 1..].iter().all(|other| one.end <= other.at || other.end <= one.at), "{claims:?}");
        }
    }

    fn bytes(&mut self, line: Line, len: u64) {
        let Some(sending) = self.sending.get_mut(&line) else { return };
        let len = len.min(sending.end - sending.at);
        let step = self.plan.receive(line, len);
        assert_eq!((step.skip, step.at), (0, sending.at), "no byte is asked for twice");
        for at in step.at..step.at + step.take {
            assert!(!std::mem::replace(&mut self.got[usize::try_from(at).unwrap()], true), "{at} came twice");
        }
        self.sent += len;
        sending.at += len;
        assert!(step.take == len || !step.more, "what is left out only where it is closed");
        if !step.more {
            self.broken += u64::from(sending.at < sending.end || step.take < len);
            self.sending.remove(&line);
            self.claim(line, 3);
        }
    }

    fn follow(&mut self, event: &Event) {
        match *event {
            Event::Bytes(line, len) => self.bytes(line, len),
            Event::Break(line) => {
                if self.sending.remove(&line).is_some() {
                    self.plan.release(line);
                    self.claim(line, 3);
                }
            }
            Event::Read(start) if start < self.size => {
                self.wants.push(want(self.wants.len() as u64, start, self.size));
            }
            Event::Read(_) => {}
            Event::Leave => drop(self.wants.pop()),
            Event::More(line) if !self.sending.contains_key(&line) => self.claim(line, 3),
            Event::More(_) => {}
        }
    }
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        5 => (0_u32..4, 1_u64..20).prop_map(|(line, len)| Event::Bytes(line, len)),
        1 => (0_u32..4).prop_map(Event::Break),
        1 => (0_u64..300).prop_map(Event::Read),
        1 => Just(Event::Leave),
        1 => (0_u32..4).prop_map(Event::More),
    ]
}

proptest! {
    #[test]
    fn p6_whatever_happens_each_byte_comes_once_and_the_fill_ends(
        size in 1_u64..300,
        there in proptest::collection::vec((0_u64..60, 0_u64..4), 0..5),
        events in proptest::collection::vec(event(), 0..200),
    ) {
        let mut got = SegmentMap::default();
        there.iter().for_each(|(block, len)| got.add((block * 4).min(size - 1), ((block + len) * 4).min(size - 1)));
        let bits = (0..size).map(|at| got.end_from(at) > at).collect();
        let missing = size - got.bytes();
        let plan = Plan::new(Some(size), got, SMALL);
        let (sending, wants) = (BTreeMap::new(), Vec::new());
        let mut model = Model { plan, size, sending, wants, got: bits, sent: 0, broken: 0 };
        model.claim(0, 1);
        events.iter().for_each(|event| model.follow(event));
        for _ in 0..1000 {
            if model.sending.is_empty() {
                model.claim(0, 1);
            }
            (0..4).for_each(|line| model.bytes(line, 5));
        }
        prop_assert!(model.plan.is_whole() && model.got.iter().all(|there| *there));
        let wasted = model.sent - missing;
        prop_assert!(wasted <= model.broken * 20, "{} bytes for {} closed early", wasted, model.broken);
    }
}
