//! Small plans for the tests of this folder.

use crate::sip::flow::Transport;
use crate::sip::message::Limits;
use crate::sip::plan::{
    CallPlan, Capacity, Listener, OwnedTrunk, Plan, ReferMode, Routing, Source, SourceTable, Target, Timings,
    Trunk, TrunkIx, UnknownSource,
};
use std::time::Duration;

/// A plan with one UDP listener at 127.0.0.1:5060 and these trunks; trunk n is known by 10.0.n.0/24.
pub(crate) fn plan_with(trunks: Vec<Trunk>) -> Plan {
    let mut sources = SourceTable::default();
    for n in 0..trunks.len() {
        let net = format!("10.0.{n}.0/24").parse().expect("a network");
        let source = Source { port: None, transport: None, trunk: TrunkIx(n as u16) };
        sources.insert(net, source).expect("distinct networks");
    }
    Plan {
        node: 1,
        listeners: vec![listener(Transport::Udp, "127.0.0.1:5060")],
        aliases: Vec::new(),
        trunks,
        sources,
        routes: Vec::new(),
        timings: Timings::default(),
        limits: Limits::default(),
        capacity: Capacity::default(),
        routing: Routing::default(),
        record_proxied: true,
        unknown_source: UnknownSource::DropUdp,
        calls: CallPlan::default(),
    }
}

/// A listener that names itself by the address it is bound to.
pub(crate) fn listener(transport: Transport, bind: &str) -> Listener {
    let bind: std::net::SocketAddr = bind.parse().expect("an address");
    let host = match bind.ip() {
        std::net::IpAddr::V4(ip) => ip.to_string(),
        std::net::IpAddr::V6(ip) => format!("[{ip}]"),
    };
    Listener {
        name: "lan".into(),
        transport,
        bind,
        host: host.into(),
        port: bind.port(),
        tls_profiles: Vec::new(),
    }
}

/// A trunk that belongs to a test account.
pub(crate) fn trunk(name: &str, targets: Vec<Target>) -> Trunk {
    Trunk {
        name: name.into(),
        targets,
        account: Some("AC00000000000000000000000000000001".into()),
        refer: ReferMode::Relay,
        no_response_timeout: Duration::from_secs(3),
        ring_timeout: Duration::from_secs(180),
        udp_max: 1_300,
        max_duration: Duration::from_secs(14_400),
        owned: OwnedTrunk::default(),
    }
}

/// A target at this address, port 5060.
pub(crate) fn target(host: &str, priority: u16, weight: u16) -> Target {
    Target {
        uri: format!("sip:{host}").into(),
        user: None,
        host: host.into(),
        port: None,
        transport: None,
        secure: false,
        priority,
        weight,
    }
}
