//! The checks of one broker.

use std::collections::BTreeMap;

use rmq_client::protocol::route::perm;

use crate::facts::broker_state::Broker;
use crate::facts::check::Check;
use crate::{numbers, permissions};

/// A disk that is fuller is a problem: by default a broker refuses messages above 95 % (`diskFullRatio`).
const DISK_RATIO_MAX: f64 = 0.85;
/// Default of `clockSettleMinutes`: how long a clock has to run evenly after a jump before the broker removes anything by age.
const CLOCK_SETTLE_MINUTES: i64 = 60;

/// All checks of one broker.
pub(crate) fn checks(broker: &Broker) -> Vec<Check> {
    let subject = format!("broker/{}", broker.name);
    let check = |id, is_fine, says: String| Check::new(id, &subject, is_fine, says);
    let mut checks = vec![check("broker-answers", true, "answers".to_owned())];
    checks.extend(rivals(&broker.figures, &subject));
    let ratio = broker.figures.get("commitLogDiskRatio");
    if let Some(ratio) = ratio
        .and_then(|text| text.parse::<f64>().ok())
        .filter(|ratio| *ratio >= 0.0)
    {
        let says = format!("{} of the disk is used", numbers::percent(ratio));
        checks.push(check("broker-disk", ratio < DISK_RATIO_MAX, says));
    }
    checks.push(writable(broker).of_perm(permissions::text(broker.perm())));
    checks.push(readable(broker));
    if let Some(waiting) = broker.number("connectionMemoryWaiting")
        && waiting > 0
    {
        let bytes = |key| numbers::bytes(broker.number(key).unwrap_or(0).max(0).unsigned_abs());
        let says = format!(
            "{waiting} connections and answers wait, as connections hold {} of {} (memoryBytes): slow readers, or too many large messages at once",
            bytes("connectionMemoryBytes"),
            bytes("connectionMemoryLimitBytes")
        );
        checks.push(check("broker-memory", false, says));
    }
    checks.extend(clock(broker));
    checks
}

fn writable(broker: &Broker) -> Check {
    let subject = format!("broker/{}", broker.name);
    let drained: Vec<&str> = broker
        .routes
        .iter()
        .filter(|(_, in_route)| !perm::is_writable(*in_route))
        .map(|(address, _)| address.as_str())
        .collect();
    let problem = if let Some(problem) = broker.store_problem() {
        Some(problem.to_owned())
    } else if !perm::is_writable(broker.own_perm()) {
        Some(format!(
            "its write permission is off (rmq-ctl set broker {} brokerPermission=6)",
            broker.name
        ))
    } else if !drained.is_empty() {
        let by = drained.join(", ");
        Some(format!(
            "it is drained, the routes of {by} have no write permission (rmq-ctl broker undrain {})",
            broker.name
        ))
    } else {
        None
    };
    match problem {
        None => Check::new("broker-writable", subject, true, "takes messages"),
        Some(problem) => {
            let says = format!("takes no messages: {problem}");
            Check::new("broker-writable", subject, false, says)
        }
    }
}

fn readable(broker: &Broker) -> Check {
    let is_permitted = perm::is_readable(broker.perm());
    let says = match is_permitted {
        true => "gives messages".to_owned(),
        false => format!(
            "gives no messages: its read permission is off (rmq-ctl set broker {} brokerPermission=6)",
            broker.name
        ),
    };
    let subject = format!("broker/{}", broker.name);
    Check::new("broker-readable", subject, is_permitted, says)
}

/// A clock that jumped and has not run evenly for long enough since.
fn clock(broker: &Broker) -> Option<Check> {
    let jump = broker.figures.get("lastClockJump")?;
    let settle_ms = settle_ms(broker);
    let agreed_ms = broker.number("clockAgreedMillis")?;
    let says = format!(
        "its clock jumped ({}); nothing is removed by age until the clock has agreed with itself for {}, so far {}: look at the machine's time service",
        jump_text(jump),
        numbers::length(settle_ms),
        numbers::length(agreed_ms)
    );
    let subject = format!("broker/{}", broker.name);
    (agreed_ms < settle_ms).then(|| Check::new("broker-clock", subject, false, says))
}

fn settle_ms(broker: &Broker) -> i64 {
    let told = broker.settings.get("clockSettleMinutes");
    let minutes: i64 = told
        .and_then(|text| text.parse().ok())
        .unwrap_or(CLOCK_SETTLE_MINUTES);
    minutes.saturating_mul(60_000)
}

/// Findings that are no problem, but explain what people may notice.
pub(crate) fn notes(broker: &Broker) -> Vec<Check> {
    let subject = format!("broker/{}", broker.name);
    let mut notes = Vec::new();
    let mut note = |id, says: String| notes.push(Check::note(id, &subject, says));
    if let Some(jump) = broker.figures.get("lastClockJump")
        && clock(broker).is_none()
    {
        let says = format!(
            "its clock jumped ({}) and has agreed with itself since; times of messages around it are off",
            jump_text(jump)
        );
        note("broker-clock-jumped", says);
    }
    if let Some(held) = broker.number("bytesHeldForDelayedMessages")
        && held > 0
    {
        let says = format!(
            "{} of the log stay beyond the time of retention: delayed messages in there are not delivered yet, or a backup that is being taken still copies it (backups that are taken: rmq-ctl backup list)",
            numbers::bytes(held.unsigned_abs())
        );
        note("broker-held-segments", says);
    }
    let leftover = broker.figures.get("leftoverDelayLevels");
    for level in leftover.iter().flat_map(|text| text.split(' ')) {
        let (level, waiting) = level.split_once(':').unwrap_or((level, "?"));
        let says = format!(
            "delayLevels does not have level {level} any more; {waiting} messages still wait there and are delivered when their delay is over"
        );
        note("broker-delay-levels", says);
    }
    if let Some(problem) = broker.figures.get("fastPortProblem") {
        let says = format!(
            "its fast port is not served, clients with vipChannelEnabled cannot send: {problem} (free the port, or set fastPort: false)"
        );
        note("broker-fast-port", says);
    }
    notes
}

/// The text for people of `BY ms at WHEN` in the runtime information.
fn jump_text(jump: &str) -> String {
    let parsed = jump.split_once(" ms at ").and_then(|(by, at)| {
        let (by, at): (i64, i64) = (by.parse().ok()?, at.parse().ok()?);
        let direction = if by < 0 { "back" } else { "ahead" };
        // To the second: two clocks are read one after the other.
        let seconds = by.saturating_abs().saturating_add(500) / 1_000;
        Some(format!(
            "{} {direction} at {}",
            numbers::length(seconds * 1_000),
            crate::when::show_time(at, false)
        ))
    });
    parsed.unwrap_or_else(|| jump.to_owned())
}

/// Other brokers under the same name and id; `None` without any.
fn rivals(figures: &BTreeMap<String, String>, subject: &str) -> Option<Check> {
    let rivals = figures.get("registrationRivals")?;
    Some(Check::new(
        "broker-alone",
        subject,
        false,
        format!(
            "another broker is registered under its name and id ({rivals}): both take turns in the routes, and clients find only a part of their messages; give one of them another brokerName, or stop it"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broker(figures: &[(&str, &str)], settings: &[(&str, &str)]) -> Broker {
        let owned = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter();
            pairs
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect()
        };
        Broker {
            name: "a".to_owned(),
            cluster: "DefaultCluster".to_owned(),
            address: String::new(),
            figures: owned(figures),
            settings: owned(settings),
            topics: BTreeMap::new(),
            groups: BTreeMap::new(),
            routes: Vec::new(),
        }
    }

    #[track_caller]
    fn finds(broker: &Broker, id: &str, says: &str) {
        let checks = checks(broker);
        let bad: Vec<&Check> = checks.iter().filter(|check| !check.is_fine).collect();
        assert_eq!(bad.len(), 1, "{bad:?}");
        assert_eq!(bad[0].id, id);
        assert!(bad[0].says.contains(says), "{bad:?}");
    }

    #[test]
    fn states_that_a_test_can_hardly_plant() {
        assert!(checks(&broker(&[], &[])).iter().all(|check| check.is_fine));
        let rival = broker(&[("registrationRivals", "10.0.0.9:10911")], &[]);
        finds(&rival, "broker-alone", "10.0.0.9:10911");
        let memory = [
            ("connectionMemoryWaiting", "3"),
            ("connectionMemoryBytes", "1048576"),
        ];
        finds(
            &broker(&memory, &[]),
            "broker-memory",
            "hold 1.0 MiB of 0 B",
        );
        finds(
            &broker(&[("commitLogDiskRatio", "0.9")], &[]),
            "broker-disk",
            "90% of the disk",
        );
    }

    #[test]
    fn notes_are_for_people() {
        let told = broker(
            &[
                ("lastClockJump", "-7200000 ms at 1700000000000"),
                ("clockAgreedMillis", "7200000"),
                ("bytesHeldForDelayedMessages", "3221225472"),
                ("leftoverDelayLevels", "19:5 20:1"),
                ("fastPortProblem", "127.0.0.1:10909: in use"),
            ],
            &[],
        );
        assert!(checks(&told).iter().all(|check| check.is_fine));
        let notes: Vec<String> = notes(&told).into_iter().map(|note| note.says).collect();
        for (note, says) in notes.iter().zip([
            "2h back at 2023-11-1",
            "3.0 GiB of the log",
            "level 19 any more; 5 messages",
            "level 20 any more; 1 messages",
            "127.0.0.1:10909",
        ]) {
            assert!(note.contains(says), "{note}");
        }
        assert_eq!(notes.len(), 5);
        let settling = broker(
            &[
                ("lastClockJump", "7200000 ms at 1700000000000"),
                ("clockAgreedMillis", "60000"),
            ],
            &[("clockSettleMinutes", "30")],
        );
        finds(&settling, "broker-clock", "for 30m, so far 1m");
    }
}
