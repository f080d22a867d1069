//! Who reads what a member keeps (P14): strangers, agents of another mirror, and users of the clients' port.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tidepool_tests::{Cluster, ImageSpec, Output, StandIn};

use crate::installed::{
    AGENTS, MIRROR, SOON, SYSTEM, apply_and_await, await_revision, installed, installed_with, login, members,
    mirror_of, pull,
};

/// The certificate of an agent as files: of the authority, of the agent, and its key.
struct Shown {
    authority: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
}

impl Shown {
    /// What agents show to the members of a mirror, out of their Secret.
    fn of_agents(cluster: &Cluster, uid: &str) -> Self {
        let folder = cluster.folder().unwrap().join(format!("agent-{uid}"));
        std::fs::create_dir_all(&folder).unwrap();
        let write = |key: &str| -> PathBuf {
            let template = format!(r#"go-template={{{{index .data "{key}" | base64decode}}}}"#);
            let text = cluster.kubectl(&["get", "secret", "tidepool-agent-identity", "-n", AGENTS, "-o", &template]);
            let file = folder.join(key);
            std::fs::write(&file, text.unwrap()).unwrap();
            file
        };
        Self { authority: write("ca.crt"), certificate: write(&format!("{uid}.crt")), key: write("tls.key") }
    }

    /// A certificate with an agent's name that nobody whom members believe has signed.
    fn self_made(cluster: &Cluster, uid: &str) -> Self {
        let folder = cluster.folder().unwrap().join("self-made");
        std::fs::create_dir_all(&folder).unwrap();
        let issued = cluster.issue(&[&format!("agent.{uid}.tidepool.internal")]).unwrap();
        let write = |name: &str, text: &str| {
            let file = folder.join(name);
            std::fs::write(&file, text).unwrap();
            file
        };
        let authority = write("ca.crt", &cluster.authority().unwrap());
        Self { authority, certificate: write("tls.crt", &issued.certificate), key: write("tls.key", &issued.key) }
    }
}

fn uid(cluster: &Cluster, mirror: &str) -> String {
    cluster.kubectl(&["get", "registrymirror", mirror, "-o", "jsonpath={.metadata.uid}"]).unwrap()
}

/// `curl` with the network of the pod `stranger`; the status is the last line.
fn curl(cluster: &Cluster, args: &[&str]) -> Output {
    let accept = "Accept: application/vnd.oci.image.manifest.v1+json";
    let curl = ["curl", "-sS", "-m", "10", "-w", "\n%{http_code}", "-H", accept];
    cluster.try_in_pod_network("default", "stranger", &[&curl, args].concat()).unwrap()
}

fn status(output: &Output) -> String {
    output.stdout.lines().last().unwrap_or_default().to_owned()
}

/// Asks a member's port for agents for a manifest, verifying the member's name, with what is shown if anything.
fn ask_member(cluster: &Cluster, address: &str, uid: &str, path: &str, shown: Option<&Shown>) -> Output {
    let text = |path: &Path| path.display().to_string();
    let host = format!("member.{uid}.tidepool.internal");
    let (resolve, url) = (format!("{host}:5443:{address}"), format!("https://{host}:5443{path}"));
    match shown {
        None => curl(cluster, &["-k", "--resolve", &resolve, &url]),
        Some(Shown { authority, certificate, key }) => {
            // The self-made authority has not signed the member's certificate: whether it is believed is not the question.
            let verify: &[&str] =
                if text(authority).contains("self-made") { &["-k"] } else { &["--cacert", &text(authority)] };
            let show = ["--resolve", &resolve, "--cert", &text(certificate), "--key", &text(key), &url];
            curl(cluster, &[verify, &show].concat())
        }
    }
}

fn start_stranger(cluster: &Cluster) {
    cluster.registry("docker.io").unwrap().push(&ImageSpec::new("library/stranger", "1")).unwrap();
    cluster.run_pod("stranger", 1, "stranger:1", SOON).unwrap();
}

#[test]
fn members_answer_agents_of_their_own_mirror_alone() {
    let Some(cluster) = installed(1) else { return };
    cluster.apply(&mirror_of("lagoon", &["ghcr.io"]).to_string()).unwrap();
    apply_and_await(&cluster, &mirror_of(MIRROR, &["docker.io"]));
    cluster.kubectl(&["wait", "--for=condition=Ready", "registrymirror/lagoon", "--timeout=180s"]).unwrap();
    crate::installed::await_active(&cluster);
    start_stranger(&cluster);
    cluster.registry("ghcr.io").unwrap().push(&ImageSpec::new("a/b", "1")).unwrap();
    pull(&cluster, 1, "ghcr.io/a/b:1");

    let (reef, lagoon) = (uid(&cluster, MIRROR), uid(&cluster, "lagoon"));
    let address = members(&cluster, "lagoon")[0].address.clone();
    let path = "/v2/a/b/manifests/1?ns=ghcr.io";
    let ask = |shown: Option<&Shown>| ask_member(&cluster, &address, &lagoon, path, shown);
    let own = ask(Some(&Shown::of_agents(&cluster, &lagoon)));
    assert_eq!(status(&own), "200", "the agents' own certificate reads: {own:?}");
    let refused = [
        ("no certificate", ask(None)),
        ("a self-made certificate", ask(Some(&Shown::self_made(&cluster, &lagoon)))),
        ("the certificate for another mirror", ask(Some(&Shown::of_agents(&cluster, &reef)))),
        ("no TLS at all", curl(&cluster, &[&format!("http://{address}:5443{path}")])),
    ];
    for (what, output) in refused {
        assert!(!output.success && status(&output) == "000", "{what} is answered: {output:?}");
    }
    let admin = curl(&cluster, &[&format!("http://{address}:8080/state")]);
    assert!(!admin.stdout.to_lowercase().contains("key"), "the admin port tells no secret: {admin:?}");
}

/// One user `build` with the password `change-me`.
const USERS: &str = "build:$2b$10$qbxh618zLVN4PYPSPuEd1e04a2GXPKatBJ5X3YVB/cMKfO86aWxc.\n";

/// A Secret of users, as `htpasswd` writes it.
pub(crate) fn users(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": SYSTEM},
           "stringData": {"htpasswd": USERS}})
}

#[test]
fn the_clients_port_tells_users_from_strangers_and_nodes_never_log_in() {
    let private = StandIn::with_realm("private.test", "login.test").user("me", "right").private("team/");
    let Some(cluster) = installed_with(1, vec![StandIn::docker_hub(), private], None) else { return };
    for repository in ["team/app", "open/app"] {
        cluster.registry("private.test").unwrap().push(&ImageSpec::new(repository, "1")).unwrap();
    }
    cluster.apply(&login("private-login", "me", "right").to_string()).unwrap();
    cluster.apply(&users("mirror-users").to_string()).unwrap();
    let mut mirror = mirror_of(MIRROR, &["docker.io", "private.test"]);
    mirror["spec"]["upstreams"][1]["credentials"] =
        json!({"secretRef": {"name": "private-login"}, "scope": "AllImages"});
    apply_and_await(&cluster, &mirror);
    start_stranger(&cluster);
    let address = members(&cluster, MIRROR)[0].address.clone();
    let ask = |repository: &str, more: &[&str]| {
        let url = format!("http://{address}:5000/v2/private.test/{repository}");
        curl(&cluster, &[more, &[&url]].concat())
    };
    let (closed, open) = ("team/app/manifests/1", "open/app/manifests/1");
    let without_users = [status(&ask(closed, &[])), status(&ask(open, &[]))];
    assert_eq!(without_users, ["404", "200"], "without users nobody is asked to log in");

    mirror["spec"]["access"] = json!({"usersSecretRef": {"name": "mirror-users"}});
    cluster.apply(&mirror.to_string()).unwrap();
    await_revision(&cluster);
    let stranger = ask(closed, &["-i"]);
    assert_eq!(status(&stranger), "401", "{stranger:?}");
    let challenge = stranger.stdout.to_lowercase();
    assert!(challenge.contains("www-authenticate: basic realm="), "{stranger:?}");
    let (right, wrong) = (["-u", "build:change-me"], ["-u", "build:guess"]);
    let statuses = [
        (status(&ask(open, &[])), "200", "anybody reads what is public"),
        (status(&ask(closed, &right)), "200", "a user reads what the credentials read"),
        (status(&ask(closed, &wrong)), "401", "a wrong password reads nothing private"),
        (status(&ask(open, &wrong)), "401", "nor anything public"),
        (status(&ask(closed, &["-u", "nobody:change-me"])), "401", "nor does an unknown user"),
    ];
    for (found, expected, what) in statuses {
        assert_eq!(found, expected, "{what}");
    }
    let bare = curl(&cluster, &[&format!("http://{address}:5000/v2/")]);
    assert_eq!(status(&bare), "401", "so that clients send what they have: {bare:?}");
    pull(&cluster, 1, "private.test/team/app:1");

    mirror["spec"]["access"]["anonymousPull"] = json!("None");
    cluster.apply(&mirror.to_string()).unwrap();
    await_revision(&cluster);
    assert_eq!([status(&ask(open, &[])), status(&ask(open, &right))], ["401", "200"]);
}
