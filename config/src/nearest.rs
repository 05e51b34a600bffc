//! The setting that somebody may have meant.

use crate::setting::Setting;

/// Below this likeness nothing is offered.
const LIKE_ENOUGH: f64 = 0.8;

/// The setting whose key, or whose name in Apache RocketMQ, is nearest to a name that is unknown.
pub(crate) fn nearest<'a>(
    settings: impl Iterator<Item = &'a Setting>,
    name: &str,
) -> Option<&'a Setting> {
    let name = name.to_lowercase();
    let likeness = |known: &str| strsim::jaro_winkler(&known.to_lowercase(), &name);
    settings
        .map(|setting| {
            let upstream = setting.upstream_name().map_or(0.0, likeness);
            (setting, likeness(setting.key).max(upstream))
        })
        .filter(|(_, likeness)| *likeness > LIKE_ENOUGH)
        .max_by(|(_, one), (_, other)| one.total_cmp(other))
        .map(|(setting, _)| setting)
}
