use std::fs;

use tempfile::TempDir;

use super::*;
use crate::spool::identity::settle;

struct Stage {
    folder: TempDir,
    reload: Reload,
    control: Control,
    runtime: Runtime,
}

fn stage() -> Stage {
    let folder = tempfile::tempdir().unwrap();
    let service = Service::find(Arc::new(SystemClock::new())).unwrap().0;
    let reload = Reload::new(&folder.path().join("keeper.toml"), &service);
    Stage { folder, reload, control: Control::new(), runtime: runtime().unwrap() }
}

impl Stage {
    fn write(&self, bucket: &str) {
        let state = self.folder.path().join("state");
        let text = format!(
            "[stream]\nname = \"clicks\"\n[archive]\nbucket = \"{bucket}\"\n\
             [aws]\nregion = \"eu-west-1\"\n[disk]\nstate_dir = \"{}\"\n",
            state.display()
        );
        fs::write(&self.reload.path, text).unwrap();
    }

    /// SIGHUP, as the signals' thread has it.
    fn hang_up(&self) {
        self.reload.try_file(&self.control);
    }

    fn allow(&self) {
        self.reload.allow(self.runtime.handle(), &self.control);
    }

    fn take(&self) -> Option<String> {
        self.reload.take(&self.control).map(|new| new.config.archive.bucket)
    }
}

#[test]
fn a_reload_asked_between_two_runs_is_carried_out() {
    let stage = stage();
    stage.write("first");
    stage.allow();
    assert_eq!(stage.take(), None);
    stage.write("second");
    stage.hang_up();
    assert_eq!(stage.control.requested(), Some(End::Reload));
    assert_eq!((stage.take().as_deref(), stage.control.requested()), (Some("second"), None));
    // The run with `second` has not begun yet.
    stage.write("third");
    stage.hang_up();
    assert_eq!(stage.control.requested(), Some(End::Reload), "the run is to end as it begins");
    assert_eq!(stage.take().as_deref(), Some("third"));
}

#[test]
fn a_reload_asked_while_the_first_run_starts_reads_the_file_again() {
    let stage = stage();
    stage.write("first");
    Config::load(&stage.reload.path).unwrap();
    stage.write("second");
    stage.hang_up();
    assert_eq!(stage.control.requested(), None, "nothing is known of the runtime yet");
    stage.allow();
    assert_eq!((stage.take().as_deref(), stage.control.requested()), (Some("second"), None));
    stage.allow();
    assert_eq!(stage.take(), None);
}

#[test]
fn a_file_for_which_the_state_directory_is_anothers_stops_nothing() {
    let stage = stage();
    stage.write("first");
    stage.allow();
    let disk = LocalDisk::new(stage.folder.path().join("state"));
    let stream = crate::model::shard::StreamIdentity {
        name: "clicks".into(),
        arn: "arn:aws:kinesis:eu-west-1:1:stream/clicks".into(),
        created: crate::model::timestamp::Timestamp::from_seconds(5),
    };
    settle(&disk, Identity::new(&stream, "first", "", &mut fastrand::Rng::with_seed(1))).unwrap();
    stage.write("second");
    stage.hang_up();
    assert_eq!((stage.take(), stage.control.requested()), (None, None));
    stage.write("first");
    stage.hang_up();
    assert_eq!(stage.take().as_deref(), Some("first"));
}
