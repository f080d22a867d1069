//! How agents and members know each other (design P14): names in certificates that the operator issues.
//!
//! One small authority of the operator signs both. A member's certificate names the mirror it serves, an agent's the
//! mirror it may pull through: a mirror's uid, so that one deleted and made again is another.

/// The name in the certificate of a member of the mirror with `uid`: a DNS name that no DNS has.
#[must_use]
pub fn member_name(uid: &str) -> String {
    format!("member.{uid}.tidepool.internal")
}

/// The name in the certificate by which agents pull through the mirror with `uid`.
#[must_use]
pub fn agent_name(uid: &str) -> String {
    format!("agent.{uid}.tidepool.internal")
}

/// The Secret with the agents' key and certificates, in their namespace; agents watch it by name.
pub const AGENT_SECRET: &str = "tidepool-agent-identity";
/// Key of [`AGENT_SECRET`]: PEM certificates of the authorities whose members are believed.
pub const AUTHORITIES_KEY: &str = "ca.crt";
/// Key of [`AGENT_SECRET`]: the agents' private key, PEM, one for all certificates.
pub const PRIVATE_KEY_KEY: &str = "tls.key";

/// Key of [`AGENT_SECRET`]: the certificate for the mirror with `uid`, PEM.
#[must_use]
pub fn certificate_key(uid: &str) -> String {
    format!("{uid}.crt")
}
