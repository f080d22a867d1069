//! Events about mirrors.

use kube::{
    Client, Resource as _,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tidepool_api::RegistryMirror;
use tidepool_plan::{Notice, names::MANAGER};

use crate::report::report;

/// What writes Events.
pub(crate) fn recorder(client: Client) -> Recorder {
    Recorder::new(client, Reporter::from(MANAGER))
}

/// Writes the Events of a change. One that cannot be written is logged: the conditions say the same.
pub(crate) async fn tell(recorder: &Recorder, mirror: &RegistryMirror, notices: impl IntoIterator<Item = Notice>) {
    let about = mirror.object_ref(&());
    for Notice { warning, reason, note } in notices {
        let type_ = if warning { EventType::Warning } else { EventType::Normal };
        let event = Event { type_, reason, note: Some(note), action: "Reconcile".to_owned(), secondary: None };
        if let Err(error) = recorder.publish(&event, &about).await {
            tracing::warn!(
                mirror = mirror.metadata.name,
                reason = event.reason,
                error = report(&error),
                "cannot write Event"
            );
        }
    }
}
