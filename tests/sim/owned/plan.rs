//! The configuration of the owned-call flows: one trunk a phone, everybody may call everybody.

use baton::sip::flow::Transport;
use baton::sip::message::Limits;
use baton::sip::plan::{
    Action, Application, CallPlan, Capacity, Fork, Listener, Mode, Plan, ReferMode, Route, Routing, Source,
    SourceTable, Target, Timings, Trunk, TrunkIx, UnknownSource, UserMatch,
};
use std::net::SocketAddr;
use std::time::Duration;

/// Whoever calls this is taken by an application,
pub const DESK: &str = "desk";
/// and this rings at several phones at once.
pub const TEAM: &str = "team";
/// The owner of all records.
pub const ACCOUNT: &str = "AC00000000000000000000000000000001";

/// A phone as the configuration knows it.
pub struct Phone {
    pub user: String,
    pub addr: SocketAddr,
    pub transport: Transport,
    /// How its REFERs are treated.
    pub refer: ReferMode,
}

/// Phone n sits at trunk n and is called by its name.
pub fn plan(baton: SocketAddr, phones: &[Phone]) -> Plan {
    let mut sources = SourceTable::default();
    for (n, phone) in phones.iter().enumerate() {
        let net = format!("{}/32", phone.addr.ip()).parse().expect("a network");
        let source = Source { port: None, transport: None, trunk: TrunkIx(n as u16) };
        sources.insert(net, source).expect("distinct");
    }
    let trunk = |phone: &Phone| Trunk {
        name: phone.user.as_str().into(),
        targets: vec![Target {
            uri: format!("sip:{};transport={}", phone.addr, phone.transport.param()).into(),
            user: None,
            host: phone.addr.ip().to_string().into(),
            port: Some(phone.addr.port()),
            transport: Some(phone.transport),
            secure: false,
            priority: 0,
            weight: 1,
        }],
        account: Some(ACCOUNT.into()),
        refer: phone.refer,
        no_response_timeout: Duration::from_secs(3),
        ring_timeout: Duration::from_secs(60),
        udp_max: 1_300,
        max_duration: Duration::from_secs(14_400),
        owned: Default::default(),
    };
    let route = |user: &str, action| Route { from: Vec::new(), user: UserMatch::Exact(user.into()), action };
    let to = |to: Vec<TrunkIx>, fork| Action::Trunks { to, fork, mode: Mode::B2bua };
    let own = |(n, phone): (usize, &Phone)| route(&phone.user, to(vec![TrunkIx(n as u16)], Fork::Serial));
    let team = (0..phones.len().min(3) as u16).map(TrunkIx).collect();
    let mut routes: Vec<Route> = phones.iter().enumerate().map(own).collect();
    routes.push(route(TEAM, to(team, Fork::Parallel)));
    routes.push(route(DESK, Action::Application(0)));
    let listener = |transport| Listener {
        name: "lan".into(),
        transport,
        bind: baton,
        host: baton.ip().to_string().into(),
        port: baton.port(),
        tls_profiles: Vec::new(),
    };
    let desk = Application { name: DESK.into(), account: Some(ACCOUNT.into()), decides_refers: true };
    Plan {
        node: 1,
        listeners: vec![listener(Transport::Udp), listener(Transport::Tcp)],
        aliases: Vec::new(),
        trunks: phones.iter().map(trunk).collect(),
        sources,
        routes,
        timings: Timings::default(),
        limits: Limits::default(),
        capacity: Capacity::default(),
        routing: Routing::default(),
        record_proxied: true,
        unknown_source: UnknownSource::DropUdp,
        calls: CallPlan { applications: vec![desk], ..CallPlan::default() },
    }
}
