//! The table with figures that are made up.

use super::*;

fn line(bar: Bar, unit: Unit) -> Line {
    let mut line = Line::new("it", unit).bar(bar);
    [90.0, 80.0, 100.0].into_iter().for_each(|sample| line.add(Who::Tidepool, sample));
    line.add(Who::NginxNopush, 60.0);
    line.add(Who::NginxPush, 120.0);
    line
}

#[test]
fn nginx_is_the_better_of_its_two_configurations() {
    let bar = Bar::LeastTimes(0.9, Who::Nginx);
    assert_eq!(line(bar, Unit::PerSecond).median(Who::Nginx), Some(120.0));
    assert_eq!(line(bar, Unit::CpuPerGib).median(Who::Nginx), Some(60.0));
}

#[test]
fn a_bar_is_met_or_missed_by_the_median() {
    let verdict = |bar, unit| line(bar, unit).verdict();
    let nginx = Who::Nginx;
    assert_eq!(verdict(Bar::LeastTimes(0.75, nginx), Unit::PerSecond), Verdict::Met("0.75 ×".into()));
    assert_eq!(verdict(Bar::LeastTimes(0.9, nginx), Unit::PerSecond), Verdict::Missed("0.75 ×".into()));
    assert_eq!(verdict(Bar::MostTimes(1.1, nginx), Unit::CpuPerGib), Verdict::Missed("1.50 ×".into()));
    assert_eq!(verdict(Bar::MostMore(29.0, nginx), Unit::Milliseconds), Verdict::Missed("+ 30".into()));
    assert_eq!(verdict(Bar::Most(90.0), Unit::Mib), Verdict::Met(String::new()));
    assert_eq!(verdict(Bar::Most(89.0), Unit::Mib), Verdict::Missed(String::new()));
    assert_eq!(verdict(Bar::MostTimes(1.0, Who::Floor), Unit::Mib), Verdict::NotMeasured, "nothing to compare with");
}

#[test]
fn who_fails_meets_no_bar() {
    let mut line = line(Bar::Most(1000.0), Unit::Seconds);
    line.fail(Who::Tidepool, "wrong bytes");
    assert_eq!(line.verdict(), Verdict::Missed("wrong bytes".into()));
    line.fail(Who::Distribution, "no answer");
    assert_eq!(
        line.markdown(),
        "| it, s | wrong bytes | 60 (1) |  | no answer |  | ≤ 1,000 | **missed** wrong bytes |"
    );
}

#[test]
fn figures_have_two_or_three_digits() {
    for (figure, text) in
        [(0.0, "0.000"), (0.0123, "0.012"), (0.5, "0.50"), (4.26, "4.3"), (97.3, "97"), (97_300.0, "97,300")]
    {
        assert_eq!(Unit::Seconds.show(figure), text);
    }
}

#[test]
fn bars_that_nobody_measured_are_neither_met_nor_missed() {
    let empty = Line::new("none of ours", Unit::Seconds).bar(Bar::Right);
    let alone = line(Bar::LeastTimes(0.5, Who::Floor), Unit::PerSecond);
    let met = line(Bar::Most(1000.0), Unit::Seconds);
    let missed = line(Bar::Most(1.0), Unit::Seconds);
    let mut free = Line::new("without a bar", Unit::Seconds);
    free.fail(Who::Tidepool, "no answer");
    assert!(alone.markdown().ends_with("| not measured |"), "{}", alone.markdown());
    assert_eq!(tally(&[empty, alone, met, missed, free]), [1, 1, 2]);
}

#[test]
fn figures_of_other_than_five_samples_say_of_how_many() {
    let mut line = line(Bar::Right, Unit::Seconds);
    assert_eq!((line.show(Who::Tidepool), line.show(Who::Nginx)), ("90 (3)".into(), "60 (1)".into()));
    [1.0, 2.0].into_iter().for_each(|sample| line.add(Who::Tidepool, sample));
    assert_eq!(line.show(Who::Tidepool), "80");
}

#[test]
fn only_wrong_bytes_of_ours_are_wrong() {
    let mut line = line(Bar::Right, Unit::Seconds);
    line.wrong(Who::Distribution, "wrong bytes");
    line.fail(Who::Tidepool, "503");
    assert!(!line.is_wrong());
    line.wrong(Who::Tidepool, "wrong bytes");
    assert!(line.is_wrong());
}
