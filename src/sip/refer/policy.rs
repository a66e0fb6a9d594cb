//! What a trunk allows and wishes of transfers (refer-core section 4), the default first.
//!
//! Part of the plan; the transfer core asks it at each decision.

use std::time::Duration;

/// The knobs of one trunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Code that accepts a REFER: 202, or 200.
    pub accept_code: u16,
    /// Which provisional progress is notified.
    pub notify: NotifyDetail,
    /// Who ends the referrer's leg after success.
    pub release: Release,
    /// How long after the final NOTIFY was answered Baton ends the referrer's leg itself.
    pub release_after: Duration,
    /// What the peer's BYE before a result means (T): `canceled`, or `completed`.
    pub bye_is_success: bool,
    /// What silence means (T): no NOTIFY, or no final one: `failed`, or `completed`.
    pub silence_is_success: bool,
    /// How Replaces in Refer-To is handled.
    pub replaces: ReplacesMode,
    /// Transfers of one call at most.
    pub max_transfers: u8,
    /// REFERs a second this trunk may send; 0: no limit.
    pub max_rate: u32,
    /// Patterns on the target: the first that matches decides; none: what routes allow.
    pub targets: Vec<TargetRule>,
    /// Where the new call is routed.
    pub routing: TargetRouting,
    /// What is added when Referred-By is missing.
    pub referred_by: MissingReferredBy,
    /// Refer-To header fields that pass into the INVITE beside the standard ones.
    pub allow_headers: Vec<Box<str>>,
    /// Whether a forbidden one refuses the REFER (400) or is dropped.
    pub strict_headers: bool,
    /// Whether a final NOTIFY is still tried after the referrer's BYE.
    pub notify_after_bye: bool,
    /// When the final NOTIFY 200 goes: when the parties are joined, or at the target's 2xx.
    pub notify_on_answer: bool,
    /// Whether the target of a REFER that is passed on is turned to Baton.
    pub returns: bool,
    /// Out-of-dialog REFER.
    pub out_of_dialog: OutOfDialog,
}

/// Which provisional progress is notified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NotifyDetail {
    /// Each new class of provisional response.
    #[default]
    All,
    /// The first 100 only.
    Initial,
    /// Only the final one, after the 100 that RFC 3515 §2.4.4 demands.
    Final,
}

/// Who ends the referrer's leg.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Release {
    /// Wait for its BYE, then send one.
    #[default]
    Wait,
    /// BYE as soon as the final NOTIFY is answered.
    AtOnce,
    /// Never.
    Never,
}

/// How a Replaces in Refer-To is handled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplacesMode {
    /// A leg of Baton's own is taken; otherwise INVITE with Replaces goes out.
    #[default]
    MatchElseSend,
    /// Only a leg of Baton's own.
    LocalOnly,
    /// Always INVITE with Replaces.
    AlwaysSend,
}

/// Where the call to a transfer's target goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetRouting {
    /// The routes of the referrer's trunk.
    #[default]
    Referrer,
    /// The routes of the survivor's trunk.
    Survivor,
    /// Back to the referrer's peer, whatever host Refer-To names.
    BackToReferrer,
}

/// What is done when a REFER has no Referred-By.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MissingReferredBy {
    /// The referrer's identity is put in.
    #[default]
    Add,
    /// It stays out.
    LeaveOut,
    /// The REFER gets 429.
    Refuse,
}

/// A condition on a transfer's target, matched on the canonical URI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetRule {
    /// Whether it lets the target pass.
    pub allow: bool,
    /// The host must be this or end in `.` and this, lower case; empty: any.
    pub domain: Box<str>,
    /// The user part must begin so; empty: any.
    pub prefix: Box<str>,
}

/// What happens to a REFER outside a dialog.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutOfDialog {
    /// Refused.
    #[default]
    Reject,
    /// Taken when Target-Dialog names a dialog of its sender.
    TargetDialog,
    /// Passed on by the routes, unwatched, where the trunk's REFERs are relayed.
    Relay,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            accept_code: 202,
            notify: NotifyDetail::default(),
            release: Release::default(),
            release_after: Duration::from_secs(5),
            bye_is_success: false,
            silence_is_success: false,
            replaces: ReplacesMode::default(),
            max_transfers: 5,
            max_rate: 0,
            targets: Vec::new(),
            routing: TargetRouting::default(),
            referred_by: MissingReferredBy::default(),
            allow_headers: Vec::new(),
            strict_headers: false,
            notify_after_bye: true,
            notify_on_answer: false,
            returns: false,
            out_of_dialog: OutOfDialog::default(),
        }
    }
}
