//! A node that loses its power and gets it back, with and without an API server.

use crate::installed::await_active;
use crate::life::Life;
use crate::node_state::await_around;

impl Life<'_> {
    pub(crate) fn a_node_reboots(&self) {
        let (file, agent) = (self.file(), self.agent());
        self.pulls.step("node rebooted", || {
            self.pulls.held(|| self.cluster.reboot(1)).unwrap();
            self.pulls.await_next();
            self.is_used();
        });
        assert_ne!(self.agent(), agent, "the reboot ended what ran");
        assert_eq!(self.file(), file, "and nobody wrote the file anew");
        await_active(self.cluster);
    }

    /// First the agent stops, which cannot learn why; then the node reboots, and no agent comes.
    pub(crate) fn a_node_reboots_without_the_api_server(&self) {
        let file = self.file();
        let dark = || {
            self.pulls.step("agent stopped without the API server", || {
                self.cluster.in_node(1, &["crictl", "stop", "--timeout", "40", &self.agent()]).unwrap();
                assert_eq!(self.file(), file, "who does not know keeps files");
            });
            self.pulls.step("node rebooted without the API server", || {
                self.pulls.held(|| self.cluster.reboot(1)).unwrap();
                await_around(self.cluster, self.pulls);
            });
            assert_eq!(self.agent(), "", "the kubelet starts nothing that it cannot ask about");
            assert_eq!(self.file(), file);
        };
        self.cluster.without_api_server(dark).unwrap();
        self.pulls.step("API server back", || self.is_used());
    }

    /// The agent's container on the looping node, if one runs.
    fn agent(&self) -> String {
        let running = self.cluster.in_node(1, &["crictl", "ps", "--quiet", "--name", "^agent$"]).unwrap();
        running.trim().to_owned()
    }
}
