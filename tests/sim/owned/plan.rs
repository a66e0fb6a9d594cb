//! The configuration of the owned-call flows: one trunk a phone, everybody may call everybody.

use baton::sip::flow::Transport;
use baton::sip::message::Limits;
use baton::sip::plan::{
    Action, Capacity, Fork, Listener, Mode, Plan, ReferMode, Route, Routing, Source, SourceTable, Target,
    Timings, Trunk, TrunkIx, UnknownSource, UserMatch,
};
use std::net::SocketAddr;
use std::time::Duration;

/// Phone n sits at trunk n, is called by its name, and has its REFERs treated so.
pub fn plan(baton: SocketAddr, phones: &[(String, SocketAddr, ReferMode)]) -> Plan {
    let mut sources = SourceTable::default();
    for (n, (_, addr, _)) in phones.iter().enumerate() {
        let net = format!("{}/32", addr.ip()).parse().expect("a network");
        let source = Source { port: None, transport: None, trunk: TrunkIx(n as u16) };
        sources.insert(net, source).expect("distinct");
    }
    let trunk = |(name, addr, refer): &(String, SocketAddr, ReferMode)| Trunk {
        name: name.as_str().into(),
        targets: vec![Target {
            uri: format!("sip:{addr}").into(),
            user: None,
            host: addr.ip().to_string().into(),
            port: Some(addr.port()),
            transport: Some(Transport::Udp),
            secure: false,
            priority: 0,
            weight: 1,
        }],
        account: Some("AC00000000000000000000000000000001".into()),
        refer: *refer,
        no_response_timeout: Duration::from_secs(3),
        ring_timeout: Duration::from_secs(60),
        udp_max: 1_300,
        max_duration: Duration::from_secs(14_400),
        owned: Default::default(),
    };
    let route = |(n, (name, _, _)): (usize, &(String, SocketAddr, ReferMode))| Route {
        from: Vec::new(),
        user: UserMatch::Exact(name.as_str().into()),
        action: Action::Trunks { to: vec![TrunkIx(n as u16)], fork: Fork::Serial, mode: Mode::B2bua },
    };
    Plan {
        node: 1,
        listeners: vec![Listener {
            name: "lan".into(),
            transport: Transport::Udp,
            bind: baton,
            host: baton.ip().to_string().into(),
            port: baton.port(),
            tls_profiles: Vec::new(),
        }],
        aliases: Vec::new(),
        trunks: phones.iter().map(trunk).collect(),
        sources,
        routes: phones.iter().enumerate().map(route).collect(),
        timings: Timings::default(),
        limits: Limits::default(),
        capacity: Capacity::default(),
        routing: Routing::default(),
        record_proxied: true,
        unknown_source: UnknownSource::DropUdp,
        calls: Default::default(),
    }
}
