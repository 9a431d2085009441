//! The Python that the contenders run in.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A Python with the two packages, installed once from the pinned list.
pub fn installed() -> Result<PathBuf, Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("bench-put");
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/put/requirements.txt");
    let (program, ok) = (folder.join("venv/bin/python"), folder.join("ok"));
    let wanted = fs::read_to_string(&list)?;
    if fs::read_to_string(&ok).is_ok_and(|found| found == wanted) {
        return Ok(program);
    }
    fs::create_dir_all(&folder)?;
    let done = |command: &mut Command| -> Result<(), Box<dyn Error>> {
        if command.status()?.success() { Ok(()) } else { Err(format!("{command:?} failed").into()) }
    };
    done(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder.join("venv")))?;
    let flags = ["-m", "pip", "install", "--quiet", "--require-hashes", "--only-binary", ":all:", "-r"];
    done(Command::new(&program).args(flags).arg(list))?;
    fs::write(ok, wanted)?;
    Ok(program)
}
