//! What external listeners say that cannot work and the rules of the resource let through.

use rmq_crds::ExternalListener;

/// Why clients could not use this listener; `field` is where it stands.
pub(crate) fn problem(field: &str, listener: Option<&ExternalListener>) -> Option<String> {
    let host = listener?.advertised_host.as_deref()?;
    let error = rmq_texts::reachable_host(host).err()?;
    Some(format!(
        "{field}.advertisedHost: {error}; a host name or an address is meant, without scheme and port"
    ))
}

#[cfg(test)]
mod tests {
    use rmq_crds::ExternalType;

    use super::*;

    fn told(host: Option<&str>) -> Option<String> {
        let listener = ExternalListener {
            type_: ExternalType::NodePort,
            node_port: None,
            host_port: None,
            load_balancer_class: None,
            advertised_host: host.map(str::to_owned),
            annotations: std::collections::BTreeMap::new(),
        };
        problem("spec.listeners.external", Some(&listener))
    }

    #[test]
    fn a_host_that_clients_are_told_is_one_host() {
        for host in [
            None,
            Some("mq.example.com"),
            Some("10.0.0.1"),
            Some("fd00::1"),
        ] {
            assert_eq!(told(host), None);
        }
        for host in [
            "h:10911",
            "http://h",
            "0.0.0.0",
            "::",
            "a..b",
            "10.0.0.300",
            "a:b",
            "",
        ] {
            let text = told(Some(host)).expect(host);
            assert!(
                text.starts_with("spec.listeners.external.advertisedHost") && text.contains(host),
                "{text}"
            );
        }
        assert_eq!(problem("x", None), None);
    }
}
